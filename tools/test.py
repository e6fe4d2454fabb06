"""Evaluate a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
from collections.abc import Sequence

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmengine.config import Config

from mmbeitv2.engine.workers import end_workers
from mmbeitv2.errors import InputError
from mmbeitv2.launch import preflight
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.config_parts import check_parts
from mmbeitv2.launch.config_values import check_values
from mmbeitv2.launch.loaders import (
    check_loaders,
    cores_of_process,
    processes_of_node,
    settle_workers,
)
from mmbeitv2.launch.precision import add_precision_argument, set_evaluation_precision
from mmbeitv2.launch.runner import (
    add_common_arguments,
    build_runner,
    leave_processes,
    load_weights,
    set_environment,
)
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.registry import class_name

SEGMENTATION_HOOKS = ('SegVisualizationHook', 'SegmentationPictureHook')
MASK_LOADERS = ('LoadAnnotations', 'LoadSegmentationMask')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint on the test dataloader')
    parser.add_argument('config', help="config file, or 'mmbeitv2::NAME.py'")
    parser.add_argument('checkpoint')
    add_common_arguments(parser)
    add_precision_argument(parser, 'the test')
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument('--show-dir', help='write images with predictions drawn into this folder')
    parser.add_argument(
        '--tta',
        action='store_true',
        help="average over the augmentations of the config's tta_pipeline",
    )
    parser.add_argument(
        '--format-only',
        metavar='DIR',
        help='segmentation of images without labels: write class maps as PNG, as benchmark servers '
        'take them, and evaluate nothing',
    )
    return parser.parse_args(argv)


def apply_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Write the test options into the config.

    Raises:
        ValueError: if an option needs a part that the config does not have.
    """
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if cfg.pop('strategy', None) is not None:
        # It spreads what training keeps beside the weights; mmengine's Runner evaluates the same.
        cfg.pop('runner_type', None)
    if cfg.get('test_dataloader') is None:
        raise InputError(f'{args.config} has no test_dataloader: there is nothing to test on')
    if args.precision is not None:
        set_evaluation_precision(cfg, args.precision)
    if args.tta:
        average_over_augmentations(cfg, args.config)
    if args.format_only is not None:
        write_class_maps(cfg, args.format_only)
    if args.out is not None:
        if not args.out.endswith(('.pkl', '.pickle')):
            raise InputError(f'--out is {args.out!r}, but predictions are written as .pkl')
        evaluators = cfg.test_evaluator
        evaluators = list(evaluators) if isinstance(evaluators, list | tuple) else [evaluators]
        cfg.test_evaluator = [*evaluators, {'type': 'DumpResults', 'out_file_path': args.out}]
    if args.show_dir is not None:
        draw_predictions(cfg, args.config, args.show_dir)


def average_over_augmentations(cfg: Config, name: str) -> None:
    """Test with the config's ``tta_model`` around its model.

    Raises:
        ValueError: the config named ``name`` lacks a part.
    """
    for key in ('tta_model', 'tta_pipeline'):
        if key not in cfg:
            raise InputError(f'--tta needs {key} in the config, which {name} lacks')
    cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    cfg.model = {**cfg.tta_model, 'module': cfg.model}


def write_class_maps(cfg: Config, folder: str) -> None:
    """Write predictions of unlabelled images instead of evaluating them.

    Values are those of the data set's own masks: 1 to 150 for ADE20K.

    Raises:
        ValueError: the config is not for segmentation.
    """
    evaluator = cfg.get('test_evaluator')
    if not isinstance(evaluator, dict) or not class_name(evaluator['type']).endswith('IoUMetric'):
        raise InputError(
            f'--format-only writes class maps of segmentation by IoUMetric, but test_evaluator is '
            f'{evaluator}'
        )
    evaluator.update(output_dir=folder, format_only=True)
    dataset = cfg.test_dataloader.dataset
    dataset.data_prefix.pop('seg_map_path', None)
    dataset.pipeline = without_labels(dataset.pipeline)


def without_labels(pipeline: Sequence[dict]) -> list[dict]:
    """Return the transforms that images without a mask can pass."""
    kept = []
    for transform in pipeline:
        if transform['type'] == 'TestTimeAug':
            alternatives = [without_labels(group) for group in transform['transforms']]
            transform = {**transform, 'transforms': [group for group in alternatives if group]}
        if class_name(transform['type']) not in MASK_LOADERS:
            kept.append(transform)
    return kept


def draw_predictions(cfg: Config, name: str, folder: str) -> None:
    """Let the visualization hook write every prediction into ``folder``.

    Raises:
        ValueError: the config named ``name`` has no such hook.
    """
    hook = cfg.get('default_hooks', {}).get('visualization')
    if hook is None:
        raise InputError(f'--show-dir needs a visualization hook, which {name} lacks')
    if class_name(hook.type) in SEGMENTATION_HOOKS:
        hook.draw = True
        cfg.visualizer.save_dir = folder
    else:
        hook.enable = True
        hook.out_dir = folder


def test(args: argparse.Namespace) -> None:
    """Evaluate as the command line asks.

    Raises:
        UserError: what the user can mend; before anything is built where it can be seen.
    """
    cfg = load_config(args.config, args.cfg_options)
    check_values(cfg, ('test',))
    apply_arguments(cfg, args)
    check_parts(cfg, ('test',))
    preflight.check(cfg, phases=('test',))
    set_environment(cfg, args)
    workers = settle_workers(cfg, cores_of_process(args.launcher), args.cfg_options or ())
    check_loaders(cfg, processes_of_node(args.launcher), ('test',))
    cfg.load_from = None  # loaded here instead, so that weights that do not fit are an error
    runner = build_runner(cfg)
    runner.logger.info(workers)
    load_weights(runner, args.checkpoint)
    runner.test()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with one_line_errors():
        try:
            test(args)
        finally:
            end_workers()
        leave_processes()


if __name__ == '__main__':
    main()

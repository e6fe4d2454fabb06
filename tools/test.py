"""Evaluate a checkpoint: ``python tools/test.py CONFIG CHECKPOINT``."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config

from mmbeitv2.apis import launch, preflight
from mmbeitv2.apis.config import load_config


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Evaluate a checkpoint on the test dataloader')
    parser.add_argument('config', help="config file, or 'mmbeitv2::NAME.py'")
    parser.add_argument('checkpoint')
    launch.add_common_arguments(parser)
    parser.add_argument('--out', metavar='FILE.pkl', help='write all predictions to this file')
    parser.add_argument('--show-dir', help='write images with predictions drawn into this folder')
    return parser.parse_args(argv)


def apply_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Write the test options into the config.

    Raises:
        ValueError: if an option needs a part that the config does not have.
    """
    cfg.load_from = args.checkpoint
    cfg.resume = False
    if cfg.get('test_dataloader') is None:
        raise ValueError(f'{args.config} has no test_dataloader: there is nothing to test on')
    if args.out is not None:
        if not args.out.endswith(('.pkl', '.pickle')):
            raise ValueError(f'--out is {args.out!r}, but predictions are written as .pkl')
        evaluators = cfg.test_evaluator
        evaluators = list(evaluators) if isinstance(evaluators, list | tuple) else [evaluators]
        cfg.test_evaluator = [*evaluators, {'type': 'DumpResults', 'out_file_path': args.out}]
    if args.show_dir is not None:
        hook = cfg.get('default_hooks', {}).get('visualization')
        if hook is None:
            raise ValueError(f'--show-dir needs a visualization hook, which {args.config} lacks')
        if hook.type.split('.')[-1] == 'SegVisualizationHook':
            hook.draw = True
            cfg.visualizer.save_dir = args.show_dir
        else:
            hook.enable = True
            hook.out_dir = args.show_dir


def main() -> None:
    """Run the tool."""
    args = parse_args()
    try:
        cfg = load_config(args.config, args.cfg_options)
        apply_arguments(cfg, args)
        preflight.check(cfg, phases=('test',))
        launch.set_environment(cfg, args)
    except (FileNotFoundError, ValueError) as error:
        launch.exit_on_bad_input(error)
    launch.build_runner(cfg).test()


if __name__ == '__main__':
    main()

"""Train a model: ``python tools/train.py CONFIG``."""

import argparse
from collections.abc import Sequence

from mmengine.config import Config
from mmengine.device import get_device

from mmbeitv2.launch import preflight
from mmbeitv2.launch.batch import num_processes, settle_total_batch
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.loaders import (
    check_loaders,
    cores_of_process,
    processes_of_node,
    settle_workers,
)
from mmbeitv2.launch.runner import (
    add_common_arguments,
    build_runner,
    exit_on_bad_input,
    set_environment,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help="config file, or 'mmbeitv2::NAME.py'")
    add_common_arguments(parser)
    parser.add_argument(
        '--resume',
        nargs='?',
        const='auto',
        metavar='CHECKPOINT',
        help='continue from this checkpoint, or from the newest one of the work directory',
    )
    parser.add_argument(
        '--amp',
        action='store_true',
        help='train with mixed precision, in bfloat16 unless optim_wrapper.dtype is set',
    )
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help="scale the learning rate from auto_scale_lr.base_batch_size to the run's batch",
    )
    parser.add_argument(
        '--accumulate',
        action='store_true',
        help='accumulate gradients until auto_scale_lr.base_batch_size images have been seen',
    )
    parser.add_argument(
        '--test', action='store_true', help="after training, evaluate on the config's test set"
    )
    return parser.parse_args(argv)


def apply_arguments(cfg: Config, args: argparse.Namespace) -> None:
    """Write the training options into the config.

    Raises:
        ValueError: if an option needs a part that the config does not have.
    """
    if args.amp:
        # Users of the official code report losses that are not numbers in float16.
        if cfg.optim_wrapper.get('dtype', 'bfloat16') == 'bfloat16':
            cfg.optim_wrapper.pop('dtype', None)
            cfg.optim_wrapper.type = 'mmbeitv2.BFloat16OptimWrapper'
        elif get_device() == 'cpu':
            raise ValueError(
                f'--amp with optim_wrapper.dtype={cfg.optim_wrapper.dtype} needs a GPU and this '
                'machine has none: leave dtype out, CPUs train in bfloat16'
            )
        else:
            cfg.optim_wrapper.type = 'AmpOptimWrapper'
    if args.auto_scale_lr:
        cfg.auto_scale_lr = {**cfg.get('auto_scale_lr', {}), 'enable': True}
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume


def main() -> None:
    """Run the tool."""
    args = parse_args()
    try:
        cfg = load_config(args.config, args.cfg_options)
        apply_arguments(cfg, args)
        phases = ('train', 'val', 'test') if args.test else ('train', 'val')
        preflight.check(cfg, phases=phases)
        set_environment(cfg, args)
        workers = settle_workers(cfg, cores_of_process(args.launcher), args.cfg_options or ())
        check_loaders(cfg, processes_of_node(args.launcher), phases)
        batch = settle_total_batch(cfg, num_processes(args.launcher), args.accumulate)
    except (FileNotFoundError, ValueError) as error:
        exit_on_bad_input(error)
    runner = build_runner(cfg)
    runner.logger.log(batch.level, batch.message)
    runner.logger.info(workers)
    runner.train()
    if args.test:
        runner.test()


if __name__ == '__main__':
    main()

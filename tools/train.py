"""Train a model: ``python tools/train.py CONFIG``."""

import argparse
from collections.abc import Sequence

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmengine.config import Config

from mmbeitv2.engine.workers import end_workers
from mmbeitv2.launch import preflight
from mmbeitv2.launch.batch import num_processes, settle_total_batch
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.config_parts import check_parts
from mmbeitv2.launch.config_values import check_values
from mmbeitv2.launch.loaders import (
    check_loaders,
    cores_of_process,
    processes_of_node,
    settle_workers,
)
from mmbeitv2.launch.photos import check_enough_images
from mmbeitv2.launch.precision import (
    add_precision_argument,
    amp_precision,
    set_training_precision,
)
from mmbeitv2.launch.run_folder import check_work_dir, settle_resume
from mmbeitv2.launch.runner import (
    add_common_arguments,
    build_runner,
    leave_processes,
    set_environment,
)
from mmbeitv2.launch.user_errors import one_line_errors


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
    precision = parser.add_mutually_exclusive_group()
    add_precision_argument(precision, 'training and validation')
    precision.add_argument(
        '--amp',
        action='store_true',
        help="the config's mixed precision, on CPUs that only emulate it too",
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
    precision = amp_precision(cfg) if args.amp else args.precision
    if precision is not None:
        set_training_precision(cfg, precision)
    if args.auto_scale_lr:
        cfg.auto_scale_lr = {**(cfg.get('auto_scale_lr') or {}), 'enable': True}
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == 'auto' else args.resume


def train(args: argparse.Namespace) -> None:
    """Train as the command line asks.

    Raises:
        UserError: what the user can mend; before anything is built where it can be seen.
    """
    cfg = load_config(args.config, args.cfg_options)
    phases = ('train', 'val', 'test') if args.test else ('train', 'val')
    check_values(cfg, phases)
    apply_arguments(cfg, args)
    check_parts(cfg, phases)
    preflight.check(cfg, phases=phases)
    set_environment(cfg, args)
    check_work_dir(cfg.work_dir)
    resume_notes = settle_resume(cfg)
    workers = settle_workers(cfg, cores_of_process(args.launcher), args.cfg_options or ())
    check_loaders(cfg, processes_of_node(args.launcher), phases)
    check_enough_images(cfg, num_processes(args.launcher))
    batch = settle_total_batch(cfg, num_processes(args.launcher), args.accumulate)
    runner = build_runner(cfg)
    runner.logger.log(batch.level, batch.message)
    runner.logger.info(workers)
    for note in resume_notes:
        runner.logger.warning(note)
    runner.train()
    if args.test:
        runner.test()


def main() -> None:
    """Run the tool."""
    args = parse_args()
    # Within training StopHook listens instead.
    with one_line_errors('interrupted outside of training: nothing was saved'):
        try:
            train(args)
        finally:
            end_workers()
        leave_processes()


if __name__ == '__main__':
    main()

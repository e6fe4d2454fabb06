"""Runs of the standard tools on the demo data: how long each is, and its command."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import torch
from mmengine.config import Config

from mmbeitv2.engine import choose_precision
from mmbeitv2.errors import MissingFileError
from mmbeitv2.launch import jobs as runs
from mmbeitv2.launch.jobs import Job

ROOT = Path(__file__).resolve().parents[1]
AUTO = 'auto'


def is_mixed(precision: str = AUTO) -> bool:
    """Whether matrices are multiplied in 16 bits, where training takes about half the time."""
    return choose_precision(precision).dtype != torch.float32


@dataclass(frozen=True)
class DemoJob(Job):
    """A training run of a config, with what differs from it."""

    config: str
    options: tuple[str, ...]
    precision: str = AUTO

    def command(self) -> list[str]:
        """The command line, which a user could type as well."""
        if self.processes > 1:
            start = ['bash', 'tools/dist_train.sh', self.config, str(self.processes)]
        else:
            start = [sys.executable, 'tools/train.py', self.config]
        options = ['--work-dir', str(self.work_dir), '--test']
        if self.precision != AUTO:
            options += ['--precision', self.precision]
        return [*start, *options, '--cfg-options', *self.options]


def training_job(
    config: str,
    work_dir: Path,
    seed: int,
    *options: str,
    length: float = 1.0,
    processes: int = 1,
) -> DemoJob:
    """A run on so many processes of a CPU; on a GPU one process takes the batches of all."""
    if processes > 1 and torch.cuda.is_available():
        batch = processes * Config.fromfile(ROOT / config).train_dataloader.batch_size
        options, processes = (f'train_dataloader.batch_size={batch}', *options), 1
    return _job(config, work_dir, processes, seed, length, *options)


def evaluation_job(
    name: str, work_dir: Path, seed: int, *options: str, length: float = 1.0
) -> DemoJob:
    """A run in one process, since others run beside it."""
    return _job(f'configs/demo/{name}_demo.py', work_dir, 1, seed, length, *options)


def _job(
    config: str, work_dir: Path, processes: int, seed: int, length: float, *options: str
) -> DemoJob:
    """A run of ``length`` times the epochs or iterations of its config."""
    epochs, shortened = length_options(config, length)
    options = (f'randomness.seed={seed}', *shortened, *options)
    return DemoJob(work_dir, processes, epochs, config, options)


def length_options(config: str, length: float) -> tuple[int | None, list[str]]:
    """Options that make a demo config train for ``length`` times its epochs or iterations.

    Returns:
        The number of epochs, None where the config counts iterations; the options, learning rate
        schedules included.
    """
    cfg = Config.fromfile(ROOT / config)
    unit = 'max_epochs' if 'max_epochs' in cfg.train_cfg else 'max_iters'
    full = cfg.train_cfg[unit]
    wanted = max(1, round(full * length))
    options = []
    if wanted != full:
        schedules = cfg.param_scheduler
        named = (
            {f'param_scheduler.{i}': schedule for i, schedule in enumerate(schedules)}
            if isinstance(schedules, list)
            else {'param_scheduler': schedules}
        )
        ends = [f'{name}.end={wanted}' for name, schedule in named.items() if schedule.end == full]
        options = [f'train_cfg.{unit}={wanted}', *ends]
    return (wanted if unit == 'max_epochs' else None), options


def steps_of(job: DemoJob) -> int:
    """Epochs or, where the config counts them, iterations of a run."""
    if job.epochs is not None:
        return job.epochs
    unit = 'train_cfg.max_iters='
    shortened = [option.removeprefix(unit) for option in job.options if option.startswith(unit)]
    return int((shortened or [Config.fromfile(ROOT / job.config).train_cfg.max_iters])[-1])


def last_checkpoint(work_dir: Path) -> str:
    """Newest checkpoint of an earlier stage."""
    marker = work_dir / 'last_checkpoint'
    if not marker.is_file():
        stage = 'tokenizer' if work_dir.name == 'vqkd' else work_dir.name
        raise MissingFileError(f'no checkpoint in {work_dir}: run the stage {stage!r} first')
    return os.path.relpath(marker.read_text().strip(), ROOT)


def run_together(jobs: Sequence[Job]) -> None:
    """Run jobs in this order, as many at once as there are cores; finished ones are skipped."""
    runs.run_together(jobs, {**os.environ, 'PYTHONPATH': str(ROOT)})

"""Runs of the standard tools on the demo data: started side by side, followed, never run twice.

Every run is a command that a user could type as well; its full output goes to ``log.txt`` in its
work directory. A finished run is not run again, an interrupted one is resumed.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from mmengine.config import Config
from tqdm import tqdm

import mmbeitv2.launch.console  # noqa: F401  first: what the hosts print is left out
from mmbeitv2.engine import choose_precision
from mmbeitv2.errors import MissingFileError
from mmbeitv2.launch.user_errors import one_line_errors

ROOT = Path(__file__).resolve().parents[1]
# Where matrices are multiplied in bfloat16, training takes about half the time.
MIXED_PRECISION = choose_precision().dtype != torch.float32
PROGRESS = re.compile(r'(?:Epoch|Iter)\(train\)\s*(?:\[\s*(\d+)\])?\[\s*(\d+)/\s*(\d+)\]')


@dataclass(frozen=True)
class Job:
    """One training run: a config, where it is written, and what differs from the config.

    ``epochs`` is the number of epochs of the config, or None where it counts iterations.
    """

    config: str
    work_dir: Path
    processes: int
    options: tuple[str, ...]
    epochs: int | None

    def command(self) -> list[str]:
        """The command line, which a user could type as well."""
        if self.processes > 1:
            start = ['bash', 'tools/dist_train.sh', self.config, str(self.processes)]
        else:
            start = [sys.executable, 'tools/train.py', self.config]
        options = ['--work-dir', str(self.work_dir), '--test']
        return [*start, *options, '--cfg-options', *self.options]

    @property
    def finished(self) -> Path:
        """Written at the end; holds the command that was run."""
        return self.work_dir / 'finished.txt'

    def is_finished(self) -> bool:
        """Whether this very command has been run to its end."""
        return self.finished.is_file() and self.finished.read_text() == shlex.join(self.command())

    def has_begun(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return (self.work_dir / 'last_checkpoint').is_file()


def training_job(config: str, work_dir: Path, seed: int, *options: str, length: float = 1.0) -> Job:
    """A run of total batch 64: two processes on a CPU, one on a GPU."""
    if torch.cuda.is_available():
        return _job(config, work_dir, 1, seed, length, 'train_dataloader.batch_size=64', *options)
    return _job(config, work_dir, 2, seed, length, *options)


def evaluation_job(name: str, work_dir: Path, seed: int, *options: str, length: float = 1.0) -> Job:
    """A run in one process, since its twin runs beside it."""
    return _job(f'configs/demo/{name}_demo.py', work_dir, 1, seed, length, *options)


def _job(
    config: str, work_dir: Path, processes: int, seed: int, length: float, *options: str
) -> Job:
    """A run of ``length`` times the epochs or iterations of its config."""
    epochs, shortened = length_options(config, length)
    options = (f'randomness.seed={seed}', *shortened, *options)
    return Job(config, work_dir, processes, options, epochs)


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


def steps_of(job: Job) -> int:
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


def run_together(jobs: list[Job]) -> None:
    """Run jobs side by side with one progress bar; finished ones are skipped."""
    waiting = []
    for job in jobs:
        if job.is_finished():
            print(f'  {job.work_dir}: finished before')
        else:
            waiting.append(job)
    if not waiting:
        return
    threads = max(1, len(os.sched_getaffinity(0)) // sum(job.processes for job in waiting))
    env = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': str(ROOT)}
    running = []
    for job in waiting:
        command = job.command()
        if job.has_begun():
            command.append('--resume')
        print(f'  {shlex.join(command)}', flush=True)
        job.work_dir.mkdir(parents=True, exist_ok=True)
        log = (job.work_dir / 'log.txt').open('a')
        # A session of its own, so that an interrupt can end the workers too.
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
        running.append((job, process, log))
    try:
        follow(running)
    finally:
        for _, process, log in running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
            log.close()
    for job, process, _ in running:
        if process.returncode:
            tail = (job.work_dir / 'log.txt').read_text(errors='replace').splitlines()[-25:]
            print('\n'.join(tail), file=sys.stderr)
            sys.exit(f'{job.work_dir} failed; the whole output is in {job.work_dir}/log.txt')
        job.finished.write_text(shlex.join(job.command()))


def follow(running: list[tuple]) -> None:
    """Show how far the runs are until all have ended."""
    offsets = [log.tell() for _, _, log in running]
    with tqdm(
        total=1.0,
        bar_format='  {l_bar}{bar:30}| {elapsed}<{remaining}{postfix}',
        # A file or a pipe keeps every line that a terminal would overwrite.
        mininterval=1 if sys.stderr.isatty() else 30,
    ) as bar:
        while any(process.poll() is None for _, process, _ in running):
            time.sleep(1)
            progress = [
                done(job, offset) for (job, _, _), offset in zip(running, offsets, strict=True)
            ]
            losses = ', '.join(loss for _, loss in progress if loss)
            bar.set_postfix_str(losses, refresh=False)
            bar.update(max(0.0, sum(p for p, _ in progress) / len(progress) - bar.n))
        if not any(process.returncode for _, process, _ in running):
            bar.update(1 - bar.n)


def done(job: Job, offset: int) -> tuple[float, str]:
    """Share of the iterations that the log reports, 0 to 1, and the last loss."""
    with (job.work_dir / 'log.txt').open(errors='replace') as log:
        log.seek(offset)
        lines = [line for line in log if PROGRESS.search(line)]
    if not lines:
        return 0.0, ''
    epoch, step, steps = (int(n) if n else None for n in PROGRESS.search(lines[-1]).groups())
    share = step / steps if job.epochs is None else (epoch - 1 + step / steps) / job.epochs
    loss = re.search(r'\bloss: (\S+)', lines[-1])
    return share, f'loss {loss[1]}' if loss else ''


def end_cleanly(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; ended from outside, it ends the runs it has started too."""
    # A kill or a closed terminal reaches the tool only: the runs are in sessions of their own.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        with one_line_errors():
            main()
    except KeyboardInterrupt:
        sys.exit('\ninterrupted: the same command continues where it stopped')

"""Runs of tools, as commands that a user could type as well: followed, never run twice.

Several go side by side where there are cores; the full output of each goes to ``log.txt`` in its
folder. A finished run is not run again, an interrupted one is resumed.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from mmbeitv2.launch.user_errors import one_line_errors

# Characters of an option; the indices of a hundred photos take six times as many.
LONGEST_SHOWN = 120
PROGRESS = re.compile(r'(?:Epoch|Iter)\(train\)\s*(?:\[\s*(\d+)\])?\[\s*(\d+)/\s*(\d+)\]')
SECONDS_BETWEEN_LOOKS = 1.0


@dataclass(frozen=True)
class Job:
    """One run: where it is written, its processes, and how it is started.

    ``epochs`` is the number of epochs it trains; None where it counts iterations or does not train.
    """

    work_dir: Path
    processes: int
    epochs: int | None

    @abstractmethod
    def command(self) -> list[str]:
        """The command line, which a user could type as well."""

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


def run_together(
    jobs: Sequence[Job], env: Mapping[str, str], watch: Callable[[], None] | None = None
) -> None:
    """Run jobs in this order, as many at once as there are cores; finished ones are skipped.

    Small models gain little from a second core: two runs side by side take half the time that they
    take one after the other on both.

    Args:
        jobs: the runs.
        env: variables of their environment, beside those of the number of threads.
        watch: called about every second while they run.

    Raises:
        SystemExit: one has failed; the end of its output is printed.
    """
    waiting = []
    for job in jobs:
        if job.is_finished():
            print(f'  {job.work_dir}: finished before')
        else:
            waiting.append(job)
    if not waiting:
        return
    cores = len(os.sched_getaffinity(0))
    threads = max(1, cores // sum(job.processes for job in waiting))
    runs = [Run(job) for job in waiting]
    try:
        follow(runs, cores, {**env, 'OMP_NUM_THREADS': str(threads)}, watch)
    finally:
        for run in runs:
            run.end()


@dataclass(frozen=True)
class ToolJob(Job):
    """A run of any command, again where ``after`` is newer than its end, or always without it."""

    arguments: tuple[str, ...]
    after: Path | None = None

    def command(self) -> list[str]:
        """The command line."""
        return [*self.arguments]

    def is_finished(self) -> bool:
        """Whether this very command has been run to its end, after what it reads was written."""
        if self.after is None or not super().is_finished():
            return False
        return self.finished.stat().st_mtime >= self.after.stat().st_mtime


@dataclass
class Run:
    """A job that waits, runs or has ended."""

    job: Job
    process: subprocess.Popen[bytes] | None = None
    offset: int = 0

    @property
    def is_running(self) -> bool:
        """Started, and not at its end."""
        return self.process is not None and self.process.poll() is None

    def start(self, env: Mapping[str, str]) -> None:
        """Start it where it stopped, in a session of its own, so that its workers end with it."""
        command = self.job.command()
        if self.job.has_begun():
            command.append('--resume')
        tqdm.write(f'  {shlex.join(shortened(command))}')
        self.job.work_dir.mkdir(parents=True, exist_ok=True)
        with (self.job.work_dir / 'log.txt').open('a') as log:
            self.offset = log.tell()
            self.process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, env=env, start_new_session=True
            )

    def settle(self) -> None:
        """Take down that it has come to its end.

        Raises:
            SystemExit: it has failed; the end of its output is printed.
        """
        if self.process is not None and self.process.returncode:
            log = self.job.work_dir / 'log.txt'
            print('\n'.join(log.read_text(errors='replace').splitlines()[-25:]), file=sys.stderr)
            sys.exit(f'{self.job.work_dir} failed; the whole output is in {log}')
        self.job.finished.write_text(shlex.join(self.job.command()))

    def end(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.is_running:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait()


def shortened(command: Sequence[str]) -> list[str]:
    """A command line whose long lists do not bury it."""
    return [
        part if len(part) <= LONGEST_SHOWN else f'{part[: LONGEST_SHOWN - 1]}…' for part in command
    ]


def follow(
    runs: Sequence[Run],
    cores: int,
    env: Mapping[str, str],
    watch: Callable[[], None] | None = None,
) -> None:
    """Start runs as cores come free, and show how far they are, until all have ended."""
    waiting = list(runs)
    with tqdm(
        total=1.0,
        bar_format='  {l_bar}{bar:30}| {elapsed}<{remaining}{postfix}',
        # A file or a pipe keeps every line that a terminal would overwrite.
        mininterval=1 if sys.stderr.isatty() else 30,
    ) as bar:
        while waiting or any(run.is_running for run in runs):
            busy = sum(run.job.processes for run in runs if run.is_running)
            while waiting and (not busy or busy + waiting[0].job.processes <= cores):
                waiting[0].start(env)
                busy += waiting.pop(0).job.processes
            time.sleep(SECONDS_BETWEEN_LOOKS)
            settle_ended(runs)
            if watch is not None:
                watch()
            progress = [share_of(run) for run in runs]
            losses = ', '.join(loss for _, loss in progress if loss)
            bar.set_postfix_str(losses, refresh=False)
            bar.update(max(0.0, sum(share for share, _ in progress) / len(runs) - bar.n))
        bar.update(1 - bar.n)


def settle_ended(runs: Sequence[Run]) -> None:
    """Take down which runs have ended since the last time."""
    for run in runs:
        if run.process is not None and not run.is_running and not run.job.is_finished():
            run.settle()


def share_of(run: Run) -> tuple[float, str]:
    """How far a run is, 0 to 1, and its last loss while it runs."""
    if run.is_running:
        return done(run.job, run.offset)
    return float(run.process is not None), ''


def done(job: Job, offset: int) -> tuple[float, str]:
    """Share of the iterations that the log reports, 0 to 1, and the last loss."""
    with (job.work_dir / 'log.txt').open(errors='replace') as log:
        log.seek(offset)
        found = [match for line in log if (match := PROGRESS.search(line))]
    if not found:
        return 0.0, ''
    epoch, step, steps = (int(n or 0) for n in found[-1].groups())
    share = step / steps
    # A log that counts iterations names no epoch.
    if job.epochs is not None and epoch:
        share = (epoch - 1 + share) / job.epochs
    loss = re.search(r'\bloss: (\S+)', found[-1].string)
    return share, f'loss {loss[1]}' if loss else ''


def end_cleanly(main: Callable[[], None]) -> None:
    """Run a tool's ``main``; ended from outside, it ends the runs it has started too."""
    # A kill or a closed terminal reaches the tool only: the runs are in sessions of their own.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    with one_line_errors('interrupted: the same command continues where it stopped'):
        main()

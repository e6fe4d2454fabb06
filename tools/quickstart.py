"""Run the whole chain of BEiT v2 on the demo photos and write a report.

Called by ``bash tools/quickstart.sh``, which installs what is needed first. Every stage is a
standard tool with a config of ``configs/demo``; its full output goes to ``log.txt`` in the folder
of the stage. A finished stage is not run again, an interrupted one is resumed.
"""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from tqdm import tqdm

ROOT = Path(__file__).resolve().parents[1]
STAGES = {
    'data': 'compose the demo photos',
    'tokenizer': 'train the tokenizer (VQ-KD) and evaluate it on held-out photos',
    'pretrain': 'pretrain a small ViT to predict the codes of masked patches',
    'probe': 'linear probe, pretrained against random initialisation',
    'finetune': 'fine-tune for classification, pretrained against random initialisation',
    'segment': 'train UperNet, pretrained against random initialisation',
    'report': 'draw the report',
}
# Where the CPU multiplies bfloat16 matrices, training takes about half the time. torch before 2.10
# does not tell, and trains in float32.
CPU = getattr(torch.cpu, 'get_capabilities', dict)()
MIXED_PRECISION = torch.cuda.is_available() or any(
    CPU.get(feature) for feature in ('avx512_bf16', 'amx_bf16')
)
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
        options = ['--work-dir', str(self.work_dir), '--test', *['--amp'] * MIXED_PRECISION]
        return [*start, *options, '--cfg-options', *self.options]

    @property
    def finished(self) -> Path:
        """Written at the end; holds the command that was run."""
        return self.work_dir / 'finished.txt'

    def is_finished(self) -> bool:
        """Whether this very command has been run to its end."""
        return self.finished.is_file() and self.finished.read_text() == shlex.join(self.command())


def main() -> None:
    """Run the stages that the command line names."""
    args = parse_args()
    os.chdir(ROOT)
    start = time.time()
    for number, stage in enumerate(args.stages, 1):
        print(f'\n[{number}/{len(args.stages)}] {stage}: {STAGES[stage]}', flush=True)
        stage_start = time.time()
        if stage == 'data':
            run_tool('tools/make_demo_data.py')
        elif stage == 'report':
            run_tool('tools/quickstart_report.py', '--work-dir', str(args.work_dir))
        else:
            for jobs in jobs_of(stage, args):
                run_together(jobs)
        print(f'{stage} took {time.time() - stage_start:.0f} s', flush=True)
    print(f'\nAll stages took {(time.time() - start) / 60:.1f} minutes.')


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    stages = '\n'.join(f'  {name:<10} {text}' for name, text in STAGES.items())
    parser = argparse.ArgumentParser(
        prog='bash tools/quickstart.sh',
        description='The whole chain of BEiT v2 on real photos, in about 12 minutes on 2 cores.',
        epilog=f'stages:\n{stages}\n\nMMBEITV2_VENV names another environment than .venv.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'stages', nargs='*', metavar='STAGE', help='stages to run, in this order (default: all)'
    )
    parser.add_argument(
        '--long', action='store_true', help='longer training and 3 seeds: about an hour'
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        help='default: work_dirs/quickstart, or work_dirs/quickstart_long with --long',
    )
    args = parser.parse_args()
    unknown = [stage for stage in args.stages if stage not in STAGES]
    if unknown:
        parser.error(f'unknown stage {unknown[0]!r}, allowed: {", ".join(STAGES)}')
    args.stages = args.stages or list(STAGES)
    args.work_dir = args.work_dir or Path('work_dirs/quickstart' + '_long' * args.long)
    return args


def jobs_of(stage: str, args: argparse.Namespace) -> Iterator[list[Job]]:
    """Lists of runs of a stage; those of one list run side by side."""
    long = '_long' if args.long else ''
    if stage == 'tokenizer':
        yield [training_job(f'configs/demo/vqkd_demo{long}.py', args.work_dir / 'vqkd', 0)]
        return
    for seed in range(3 if args.long else 1):
        folder = args.work_dir / f'seed{seed}'
        if stage == 'pretrain':
            tokenizer = f'tokenizer_checkpoint={last_checkpoint(args.work_dir / "vqkd")}'
            config = f'configs/demo/beitv2_demo{long}.py'
            yield [training_job(config, folder / 'pretrain', seed, tokenizer)]
            continue
        config = {'probe': 'linear_probe', 'finetune': 'finetune', 'segment': 'upernet'}[stage]
        start = f'model.backbone.init_cfg.checkpoint={last_checkpoint(folder / "pretrain")}'
        yield [
            evaluation_job(config, folder / f'{stage}_pretrained', seed, start),
            evaluation_job(
                config, folder / f'{stage}_random', seed, 'model.backbone.init_cfg=None'
            ),
        ]


def training_job(config: str, work_dir: Path, seed: int, *options: str) -> Job:
    """A run of total batch 64: two processes on a CPU, one on a GPU."""
    options = (f'randomness.seed={seed}', *options)
    if torch.cuda.is_available():
        return Job(
            config, work_dir, 1, ('train_dataloader.batch_size=64', *options), epochs(config)
        )
    return Job(config, work_dir, 2, options, epochs(config))


def evaluation_job(name: str, work_dir: Path, seed: int, *options: str) -> Job:
    """A run in one process, since its twin runs beside it."""
    config = f'configs/demo/{name}_demo.py'
    return Job(config, work_dir, 1, (f'randomness.seed={seed}', *options), epochs(config))


def epochs(config: str) -> int | None:
    """Number of epochs that a demo config trains for; None if it counts iterations."""
    match = re.search(r'^max_epochs = (\d+)', (ROOT / config).read_text(), flags=re.MULTILINE)
    return int(match[1]) if match else None


def last_checkpoint(work_dir: Path) -> str:
    """Newest checkpoint of an earlier stage."""
    marker = work_dir / 'last_checkpoint'
    if not marker.is_file():
        stage = 'tokenizer' if work_dir.name == 'vqkd' else work_dir.name
        sys.exit(f'no checkpoint in {work_dir}: run the stage {stage!r} first')
    return os.path.relpath(marker.read_text().strip(), ROOT)


def run_tool(*command: str) -> None:
    """Run a tool in the foreground; end with its exit code if it fails."""
    code = subprocess.run([sys.executable, *command]).returncode
    if code:
        sys.exit(code)


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
        if (job.work_dir / 'last_checkpoint').is_file():
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


if __name__ == '__main__':
    # Ended from outside (kill, a closed terminal), it must end the runs in their own sessions too.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.default_int_handler)
    try:
        main()
    except KeyboardInterrupt:
        sys.exit('\ninterrupted: the same command continues where it stopped')

"""BEiT v2 on a public data set: tokenizer, pretraining, and what a few labels are then worth.

Called by ``bash tools/example_fashion_mnist.sh``, which installs what is needed first. Every stage
is a standard tool with a config of ``configs/example``; its full output goes to ``log.txt`` in the
folder of the stage. A finished stage is not run again, an interrupted one is resumed.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from demo_runs import (
    ROOT,
    is_mixed,
    last_checkpoint,
    run_together,
    training_job,
)
from example_options import LICENCE, ORIGIN, SHOTS, STAGES, parse_args
from fashion_mnist import make_photos

from mmbeitv2.errors import ExistingFileError
from mmbeitv2.launch.jobs import Job, ToolJob, end_cleanly

VQKD, BEITV2 = (f'configs/example/{name}_fashion-mnist.py' for name in ('vqkd', 'beitv2'))
VAL = 500


def main(argv: Sequence[str] | None = None) -> None:
    """Run all stages."""
    args = parse_args(argv)
    os.chdir(ROOT)
    check_work_dir(args.work_dir)
    start = time.time()
    print(f'Fashion-MNIST: {LICENCE}, {ORIGIN}')
    if not is_mixed():
        print('This CPU has no bfloat16 instructions: tokenizer and ViT train half as long.')
    for number, (stage, text) in enumerate(STAGES.items(), 1):
        print(f'\n[{number}/{len(STAGES)}] {stage}: {text}', flush=True)
        stage_start = time.time()
        if stage == 'photos':
            counts = dict(train=args.train, val=VAL, test=args.test)
            written = make_photos(args.source, args.work_dir / 'photos', counts)
            print(f'  {args.work_dir}/photos: {"written" if written else "there before"}')
        else:
            run_together([job_of(stage, args.work_dir)])
        print(f'{stage} took {time.time() - stage_start:.0f} s', flush=True)
    print(f'\n{(args.work_dir / "report" / "summary.txt").read_text(encoding="utf-8")}')
    print(f'All stages took {(time.time() - start) / 60:.1f} minutes.')


def check_work_dir(work_dir: Path) -> None:
    """Refuse a folder with other files, which stages could overwrite.

    Raises:
        ExistingFileError: there is something, and not from this example.
    """
    if not work_dir.exists() or (work_dir / 'photos').is_dir():
        # Whose photos they are is checked when they are written.
        return
    others = [] if work_dir.is_dir() else [work_dir]
    others = others or [path for path in work_dir.iterdir() if path.name != '.photos.partial']
    if others:
        raise ExistingFileError(
            f'{others[0]} is not of this example, which writes to an empty folder only: name '
            'another WORK_DIR.'
        )


def job_of(stage: str, work_dir: Path) -> Job:
    """The run of a stage after the first.

    Args:
        stage: a name in ``STAGES``.
        work_dir: of the example.

    Raises:
        MissingFileError: an earlier stage has left no checkpoint.
    """
    length = 1.0 if is_mixed() else 0.5
    data = f'data_root={work_dir / "photos"}/'
    seed = work_dir / 'seed0'
    if stage == 'tokenizer':
        return training_job(VQKD, work_dir / 'vqkd', 0, data, length=length, processes=2)
    if stage == 'pretrain':
        tokenizer = f'tokenizer_checkpoint={last_checkpoint(work_dir / "vqkd")}'
        return training_job(BEITV2, seed / 'pretrain', 0, data, tokenizer, length=length)
    if stage == 'few-shot':
        checkpoint = last_checkpoint(seed / 'pretrain')
        command = (
            sys.executable,
            'tools/few_shot.py',
            checkpoint,
            str(work_dir / 'photos/test'),
            *('--shots', *map(str, SHOTS)),
            *('--config', BEITV2, '--teacher', VQKD),
            *('--json', str(seed / 'few_shot/test.json')),
        )
        return ToolJob(seed / 'few_shot', 1, None, command, after=Path(checkpoint))
    command = (sys.executable, 'tools/example_report.py', str(work_dir))
    return ToolJob(work_dir / 'report', 1, None, command)


if __name__ == '__main__':
    end_cleanly(main)

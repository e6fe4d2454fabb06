"""BEiT v2 on a public data set: tokenizer, pretraining, and what a few labels are then worth.

Called by ``bash tools/example_fashion_mnist.sh``, which installs what is needed first. Every stage
is a standard tool with a config of ``configs/example``; its full output goes to ``log.txt`` in the
folder of the stage. A finished stage is not run again, an interrupted one is resumed.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from demo_runs import (
    MIXED_PRECISION,
    ROOT,
    Job,
    end_cleanly,
    last_checkpoint,
    run_together,
    training_job,
)
from fashion_mnist import LICENCE, ORIGIN, PACKAGE, SOURCE, make_photos

from mmbeitv2.errors import ExistingFileError

STAGES = {
    'photos': 'unpack photos into a folder for each class',
    'tokenizer': 'train the tokenizer (VQ-KD) on unlabelled photos',
    'pretrain': 'pretrain a small ViT to predict the codes of masked patches',
    'few-shot': 'classify test photos with a few labels, on frozen features',
    'report': 'draw the report',
}
VQKD, BEITV2 = (f'configs/example/{name}_fashion-mnist.py' for name in ('vqkd', 'beitv2'))
VAL = 500
SHOTS = (1, 2, 5, 10, 20, 50)
# Photos of each class that are asked about at the largest number of labels.
LEAST_ASKED = 10


@dataclass(frozen=True)
class ToolJob(Job):
    """A run of another tool than training's; ``options`` are its name and arguments.

    It is run again where an ``after`` is newer than its end.
    """

    after: Path | None = None

    def command(self) -> list[str]:
        """The command line, which a user could type as well."""
        return [sys.executable, *self.options]

    def is_finished(self) -> bool:
        """Whether this very command has been run to its end, after what it reads was written."""
        if self.after is None or not super().is_finished():
            return False
        return self.finished.stat().st_mtime >= self.after.stat().st_mtime


def main(argv: Sequence[str] | None = None) -> None:
    """Run all stages."""
    args = parse_args(argv)
    os.chdir(ROOT)
    check_work_dir(args.work_dir)
    start = time.time()
    print(f'Fashion-MNIST: {LICENCE}, {ORIGIN}')
    if not MIXED_PRECISION:
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
    print(f'\n{(args.work_dir / "report" / "summary.txt").read_text()}')
    print(f'All stages took {(time.time() - start) / 60:.1f} minutes.')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    stages = '\n'.join(f'  {name:<10} {text}' for name, text in STAGES.items())
    parser = argparse.ArgumentParser(
        prog='bash tools/example_fashion_mnist.sh',
        description='BEiT v2 on Fashion-MNIST, in about 10 minutes on 2 cores: is pretraining '
        'worth more than random weights, and how near does it come to its teacher?',
        epilog=f'stages:\n{stages}\n\nThe photos: `sudo apt-get install {PACKAGE}` (Debian, '
        f'Ubuntu); {LICENCE}.\nMMBEITV2_VENV names another environment than .venv.',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'work_dir',
        nargs='?',
        type=Path,
        default=ROOT / 'work_dirs/example_fashion_mnist',
        metavar='WORK_DIR',
        help='a new folder, or one of an earlier start (default: work_dirs/example_fashion_mnist)',
    )
    parser.add_argument(
        '--source',
        type=Path,
        default=SOURCE,
        metavar='FOLDER',
        help=f'with the four IDX files, packed or not (default: {SOURCE})',
    )
    parser.add_argument(
        '--train', type=int, default=6000, help='training photos, in tens (default: 6000)'
    )
    parser.add_argument(
        '--test', type=int, default=2000, help='test photos, in tens (default: 2000)'
    )
    args = parser.parse_args(argv)
    least = 10 * (max(SHOTS) + LEAST_ASKED)
    if args.test < least:
        parser.error(f'--test {args.test}: {max(SHOTS)} labels a class need {least} or more')
    args.work_dir, args.source = short(args.work_dir), args.source.expanduser().absolute()
    return args


def short(path: Path) -> Path:
    """The path from the repository on, where the stages run, if it lies below it."""
    path = path.expanduser().absolute()
    return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


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
    length = 1.0 if MIXED_PRECISION else 0.5
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
            'tools/few_shot.py',
            checkpoint,
            str(work_dir / 'photos/test'),
            *('--shots', *map(str, SHOTS)),
            *('--config', BEITV2, '--teacher', VQKD),
            *('--json', str(seed / 'few_shot/test.json')),
        )
        return ToolJob('', seed / 'few_shot', 1, command, None, after=Path(checkpoint))
    command = ('tools/example_report.py', str(work_dir))
    return ToolJob('', work_dir / 'report', 1, command, None)


if __name__ == '__main__':
    end_cleanly(main)

"""Run the whole chain of BEiT v2 on the demo photos and write a report.

Called by ``bash tools/quickstart.sh``, which installs what is needed first. Every stage is a
standard tool with a config of ``configs/demo``; its full output goes to ``log.txt`` in the folder
of the stage. A finished stage is not run again, an interrupted one is resumed.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from demo_labels import EPOCHS, few_label_jobs
from demo_runs import (
    MIXED_PRECISION,
    ROOT,
    Job,
    end_cleanly,
    evaluation_job,
    last_checkpoint,
    run_together,
    training_job,
)

STAGES = {
    'data': 'compose the demo photos',
    'tokenizer': 'train the tokenizer (VQ-KD) and evaluate it on held-out photos',
    'pretrain': 'pretrain a small ViT to predict the codes of masked patches',
    'few-shot': 'classify with a few labels on frozen features',
    'probe': 'linear probe, pretrained against random initialisation',
    'finetune': 'fine-tune for classification, pretrained against random initialisation',
    'labels': 'fine-tune and probe with 1, 4 and 16 labelled photos a class',
    'segment': 'train UperNet, pretrained against random initialisation',
    'report': 'draw the report',
}
# What still shows something after half of its training; UperNet gives background everywhere.
HALVED = ('tokenizer', 'pretrain', 'probe', 'finetune')
# Training photos of the probe with few labels, a third: their features take about 15 s.
PROBED_PHOTOS = 2000
PROBE_DRAWS = 20


def main() -> None:
    """Run the stages that the command line names."""
    args = parse_args()
    os.chdir(ROOT)
    start = time.time()
    if not (args.long or MIXED_PRECISION):
        print(f'This CPU has no bfloat16 instructions: {", ".join(HALVED)} train half as long.')
    for number, stage in enumerate(args.stages, 1):
        print(f'\n[{number}/{len(args.stages)}] {stage}: {STAGES[stage]}', flush=True)
        stage_start = time.time()
        if stage == 'data':
            run_tool('tools/make_demo_data.py')
        elif stage == 'few-shot':
            for command in few_shot_commands(args):
                run_tool(*command)
        elif stage == 'report':
            run_tool('tools/quickstart_report.py', '--work-dir', str(args.work_dir))
        else:
            for jobs in jobs_of(stage, args):
                run_together(jobs)
            if stage == 'labels':
                for command in label_probe_commands(args):
                    run_tool(*command)
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


def length_of_runs(stage: str, long: bool) -> float:
    """Share of its config's training that a stage does, so that a default run takes the same time.

    Without bfloat16 a step takes about twice the time.
    """
    return 0.5 if stage in HALVED and not (long or MIXED_PRECISION) else 1.0


def jobs_of(stage: str, args: argparse.Namespace) -> Iterator[list[Job]]:
    """Lists of runs of a stage; those of one list run side by side."""
    long = '_long' if args.long else ''
    length = length_of_runs(stage, args.long)
    if stage == 'tokenizer':
        config = f'configs/demo/vqkd_demo{long}.py'
        yield [training_job(config, args.work_dir / 'vqkd', 0, length=length)]
        return
    for seed in range(3 if args.long else 1):
        folder = args.work_dir / f'seed{seed}'
        if stage == 'pretrain':
            tokenizer = f'tokenizer_checkpoint={last_checkpoint(args.work_dir / "vqkd")}'
            config = f'configs/demo/beitv2_demo{long}.py'
            yield [training_job(config, folder / 'pretrain', seed, tokenizer, length=length)]
            continue
        start = f'model.backbone.init_cfg.checkpoint={last_checkpoint(folder / "pretrain")}'
        starts = dict(pretrained=start, random='model.backbone.init_cfg=None')
        if stage == 'labels':
            yield from few_label_jobs(folder, seed, starts)
            continue
        config = {'probe': 'linear_probe', 'finetune': 'finetune', 'segment': 'upernet'}[stage]
        yield [
            evaluation_job(config, folder / f'{stage}_{name}', seed, option, length=length)
            for name, option in starts.items()
        ]


def few_shot_commands(args: argparse.Namespace) -> Iterator[list[str]]:
    """Command lines for both validation sets of every seed."""
    for folder in seed_folders(args):
        for split in ('val', 'val_unseen'):
            json = folder / 'few_shot' / f'{split}.json'
            yield few_shot_command(args.long, folder, [split], json)


def label_probe_commands(args: argparse.Namespace) -> Iterator[list[str]]:
    """Command lines that probe with few labels of the training photos, for every seed."""
    for folder in seed_folders(args):
        yield [
            *few_shot_command(
                args.long, folder, ['val', 'val_unseen'], folder / 'labels' / 'probe.json'
            ),
            *('--train', 'data/demo/imagenet/train', '--train-photos', str(PROBED_PHOTOS)),
            *('--shots', *map(str, EPOCHS), '--draws', str(PROBE_DRAWS)),
        ]


def few_shot_command(long: bool, folder: Path, splits: Sequence[str], json: Path) -> list[str]:
    """Command line that asks a seed's features about validation sets."""
    length = '_long' if long else ''
    return [
        'tools/few_shot.py',
        last_checkpoint(folder / 'pretrain'),
        *(f'data/demo/imagenet/{split}' for split in splits),
        *('--groups', 'data/demo/sources.csv'),
        *('--config', f'configs/demo/beitv2_demo{length}.py'),
        *('--teacher', f'configs/demo/vqkd_demo{length}.py'),
        *('--json', str(json)),
    ]


def seed_folders(args: argparse.Namespace) -> list[Path]:
    """One folder, or with ``--long`` three."""
    return [args.work_dir / f'seed{seed}' for seed in range(3 if args.long else 1)]


def run_tool(*command: str) -> None:
    """Run a tool in the foreground; end with its exit code if it fails."""
    code = subprocess.run([sys.executable, *command]).returncode
    if code:
        sys.exit(code)


if __name__ == '__main__':
    end_cleanly(main)

"""Run the whole chain of BEiT v2 on the demo photos and write a report.

Called by ``bash tools/quickstart.sh``, which installs what is needed first. Every stage is a
standard tool with a config of ``configs/demo``; its full output goes to ``log.txt`` in the folder
of the stage. A finished stage is not run again, an interrupted one is resumed.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from demo_labels import EPOCHS, few_label_jobs
from demo_runs import (
    ROOT,
    DemoJob,
    evaluation_job,
    is_mixed,
    last_checkpoint,
    run_together,
    steps_of,
    training_job,
)
from quickstart_options import STAGES, parse_args
from stage_times import StageTimes

from mmbeitv2.launch.jobs import end_cleanly

# Runs on what was pretrained and on random weights, as many at once as there are cores.
EVALUATIONS = ('segment', 'finetune', 'probe', 'labels')
TRAINED = ('tokenizer', 'pretrain', *EVALUATIONS)
RANDOM = 'model.backbone.init_cfg=None'
# The tokenizer's figures are compared with nothing.
OUTCOMES = 'default_hooks.outcomes.type=mmbeitv2.PhotoOutcomesHook'
# What still shows something after half of its training; UperNet gives background everywhere.
HALVED = ('tokenizer', 'pretrain', 'probe', 'finetune')
# Training photos of the probe with few labels, a third: their features take about 15 s.
PROBED_PHOTOS = 2000
PROBE_DRAWS = 20


def main() -> None:
    """Run the stages that the command line names."""
    args = parse_args()
    os.chdir(ROOT)
    mixed = is_mixed(args.precision)
    times = StageTimes(args.work_dir, mixed)
    if not (args.long or mixed):
        print(f'Matrices are multiplied in float32: {", ".join(HALVED)} train half as long.')
    steps = together(args.stages)
    for number, stages in enumerate(steps, 1):
        jobs = [job for stage in stages for job in jobs_of(stage, args)]
        announced = times.announce(', '.join(stages), *work_of(stages, jobs, args))
        print(f'\n[{number}/{len(steps)}] {title(stages)}, {announced}', flush=True)
        stage_start = time.time()
        run_stages(stages, jobs, args)
        times.finish(announced, time.time() - stage_start)
    print(f'\n{times.table()}')


def together(stages: Sequence[str]) -> list[list[str]]:
    """Stages as they are run: evaluations that follow one another are one step.

    Of these the longest comes first, so that the others fill the remaining cores.
    """
    steps = []
    for evaluates, group in itertools.groupby(stages, lambda stage: stage in EVALUATIONS):
        group = list(group)
        steps += [sorted(group, key=EVALUATIONS.index)] if evaluates else [[s] for s in group]
    return steps


def title(stages: Sequence[str]) -> str:
    """Names of stages that are run at once, and what they do."""
    if len(stages) == 1:
        return f'{stages[0]}: {STAGES[stages[0]]}'
    return f'{", ".join(stages)}: what pretraining is worth'


def work_of(
    stages: Sequence[str], jobs: Sequence[DemoJob], args: argparse.Namespace
) -> tuple[float, bool, bool]:
    """How much there is to do, whether that is training, and whether some was done before."""
    if stages[0] in TRAINED:
        seeds = 1 if stages == ['tokenizer'] else len(seed_folders(args))
        # Those from random weights were done beside pretraining.
        own = [job for job in jobs if RANDOM not in job.options]
        begun = any(job.is_finished() or job.has_begun() for job in own)
        if stages[0] in EVALUATIONS:
            return seeds, True, begun
        return seeds * steps_of(own[0]), True, begun
    if stages == ['few-shot']:
        return len(list(frozen_commands(args))), False, False
    return 1, False, stages == ['data'] and Path('data/demo/demo_data.json').is_file()


def run_stages(stages: Sequence[str], jobs: Sequence[DemoJob], args: argparse.Namespace) -> None:
    """Run a stage's own tool, or the ``jobs`` of one or more stages."""
    if stages == ['data']:
        run_tool('tools/make_demo_data.py')
    elif stages == ['few-shot']:
        for command in frozen_commands(args):
            run_tool(*command)
    elif stages == ['report']:
        run_tool('tools/quickstart_report.py', '--work-dir', str(args.work_dir))
    run_together(jobs)
    if 'labels' in stages:
        for command in label_probe_commands(args):
            run_tool(*command)


def length_of_runs(stage: str, args: argparse.Namespace) -> float:
    """Share of its config's training that a stage does, so that a default run takes the same time.

    Without bfloat16 a step takes about twice the time.
    """
    return 0.5 if stage in HALVED and not (args.long or is_mixed(args.precision)) else 1.0


def jobs_of(stage: str, args: argparse.Namespace) -> list[DemoJob]:
    """Runs of a stage, in the precision of the command line."""
    return [replace(job, precision=args.precision) for job in _jobs_of(stage, args)]


def _jobs_of(stage: str, args: argparse.Namespace) -> Iterator[DemoJob]:
    """Runs of a stage; beside pretraining, those of later stages that need no pretrained weights.

    All but the tokenizer's leave what was right on each photo, which the report's intervals need.
    """
    if stage == 'tokenizer':
        yield tokenizer_job(args)
    for seed, folder in enumerate(seed_folders(args)):
        if stage == 'pretrain':
            yield with_outcomes(pretraining_job(folder, seed, args))
        elif stage in EVALUATIONS:
            start = f'model.backbone.init_cfg.checkpoint={last_checkpoint(folder / "pretrain")}'
            starts = dict(pretrained=start, random=RANDOM)
            yield from evaluation_jobs(stage, folder, seed, starts, args)
    if stage == 'pretrain':
        for later in EVALUATIONS:
            for seed, folder in enumerate(seed_folders(args) if later in args.stages else ()):
                yield from evaluation_jobs(later, folder, seed, dict(random=RANDOM), args)


def tokenizer_job(args: argparse.Namespace) -> DemoJob:
    """The training of the tokenizer, which all seeds share."""
    config = f'configs/demo/vqkd_demo{"_long" * args.long}.py'
    length = length_of_runs('tokenizer', args)
    return training_job(config, args.work_dir / 'vqkd', 0, length=length, processes=2)


def pretraining_job(folder: Path, seed: int, args: argparse.Namespace) -> DemoJob:
    """The pretraining of a seed."""
    tokenizer = f'tokenizer_checkpoint={last_checkpoint(args.work_dir / "vqkd")}'
    config = f'configs/demo/beitv2_demo{"_long" * args.long}.py'
    length = length_of_runs('pretrain', args)
    return training_job(config, folder / 'pretrain', seed, tokenizer, length=length)


def evaluation_jobs(
    stage: str, folder: Path, seed: int, starts: Mapping[str, str], args: argparse.Namespace
) -> Iterator[DemoJob]:
    """Runs of an evaluation by what they start from.

    Args:
        stage: one of ``EVALUATIONS``.
        folder: of the seed.
        seed: of the training.
        starts: by name, the option that sets what training starts from.
        args: of the command line.
    """
    if stage == 'labels':
        yield from map(with_outcomes, few_label_jobs(folder, seed, starts))
        return
    config = {'probe': 'linear_probe', 'finetune': 'finetune', 'segment': 'upernet'}[stage]
    length = length_of_runs(stage, args)
    for name, start in starts.items():
        place = folder / f'{stage}_{name}'
        yield with_outcomes(evaluation_job(config, place, seed, start, length=length))


def with_outcomes(job: DemoJob) -> DemoJob:
    """A run that leaves what was right on each photo."""
    return replace(job, options=(OUTCOMES, *job.options))


def frozen_commands(args: argparse.Namespace) -> Iterator[list[str]]:
    """Command lines that ask frozen features about both validation sets, for every seed."""
    for folder in seed_folders(args):
        for split in ('val', 'val_unseen'):
            json = folder / 'few_shot' / f'{split}.json'
            yield few_shot_command(args.long, folder, [split], json)
        for split in ('validation', 'validation_unseen'):
            yield dense_probe_command(args.long, folder, split)


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
    return [
        'tools/few_shot.py',
        last_checkpoint(folder / 'pretrain'),
        *(f'data/demo/imagenet/{split}' for split in splits),
        *('--groups', 'data/demo/sources.csv'),
        *compared_with(long),
        *('--json', str(json)),
    ]


def dense_probe_command(long: bool, folder: Path, split: str) -> list[str]:
    """Command line that asks a seed's features what lies where in a validation set."""
    return [
        'tools/dense_probe.py',
        last_checkpoint(folder / 'pretrain'),
        f'data/demo/ade/images/{split}',
        f'data/demo/ade/annotations/{split}',
        '--reduce-zero-label',
        *compared_with(long),
        *('--json', str(folder / 'dense_probe' / f'{split}.json')),
    ]


def compared_with(long: bool) -> list[str]:
    """Options that name the random weights and the teacher beside the pretrained features."""
    length = '_long' if long else ''
    return [
        *('--config', f'configs/demo/beitv2_demo{length}.py'),
        *('--teacher', f'configs/demo/vqkd_demo{length}.py'),
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

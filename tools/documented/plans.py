"""How each documented command is tried here: as it stands, shortened, or not at all, and why."""

import re
import shutil
import subprocess
from typing import NamedTuple

from .pages import Command
from .recipes import RECIPE, shorten_recipe
from .shell import expand_choices

PRETRAINED = '"$(cat work_dirs/quickstart/seed0/pretrain/last_checkpoint)"'
SEGMENTED = '"$(cat work_dirs/quickstart/seed0/segment_random/last_checkpoint)"'
NO_NETWORK = '--no-index --no-build-isolation'
# A pattern, what stands in its place here, and why. All that match are applied, in this order.
REPLACEMENTS = (
    (
        r'(check_segmentation_data\.py) configs/segmentation/\S+',
        r'\1 configs/demo/upernet_demo.py',
        "the demo's config: of ADE20K all 22,210 photos are asked for",
    ),
    (r'^ln -s /path/to/imagenet', 'ln -sfn ../photos/imagenet', 'demo photos for ImageNet'),
    (r'work_dirs/beitv2_own-data/epoch_300\.pth', PRETRAINED, "the quick start's backbone"),
    (
        r'--teacher configs/own_data/vqkd_own-data\.py',
        '--teacher configs/demo/vqkd_demo.py',
        "the demo's teacher: CLIP is downloaded",
    ),
    (
        r'^python tools/test\.py CONFIG CHECKPOINT(.*?)(?: --cfg-options (.*))?$',
        rf'python tools/test.py configs/demo/upernet_demo.py {SEGMENTED}\1 --cfg-options '
        r'test_dataloader.dataset.data_root=data/ade/ADEChallengeData2016 '
        r'test_dataloader.dataset.data_prefix.img_path=images/validation '
        r'test_dataloader.dataset.data_prefix.seg_map_path=annotations/validation '
        r'test_dataloader.dataset.indices=2 \2',
        "the quick start's UperNet on 2 demo photos",
    ),
    (
        r'SRC DST --to (official|mmpretrain|timm|mmbeitv2)$',
        rf'{PRETRAINED} work_dirs/as_\1.pth --to \1',
        "the quick start's backbone",
    ),
    (
        r'SRC DST --to (safetensors)$',
        rf'{PRETRAINED} work_dirs/as_\1.safetensors --to \1',
        "the quick start's backbone",
    ),
    (
        r'SRC DST --to (transformers|transformers-mim)$',
        rf'{PRETRAINED} work_dirs/as_\1 --to \1',
        "the quick start's backbone",
    ),
    (
        r'SRC DST\.safetensors',
        f'{PRETRAINED} work_dirs/trusted.safetensors',
        "the quick start's backbone",
    ),
    (r'^(python3\.\d+ -m venv) \.venv$', r'\1 .venv-new', 'another folder: .venv is in use'),
    (r'^(pip install) ', rf'\1 --dry-run {NO_NETWORK} ', 'a dry run without the network'),
    (r'^(pip wheel) ', rf'\1 {NO_NETWORK} ', 'without the network'),
    (
        r'^python tools/make_demo_data\.py$',
        'python tools/make_demo_data.py --out data/demo-small --train 64 --seg-train 32 --val 16',
        'a few photos',
    ),
    (
        r'^(mmbeitv2 export \S+/finetune_pretrained) ',
        r'\1 --config configs/demo/finetune_demo.py ',
        'with its config, which random weights do not note',
    ),
    (
        r'^mmbeitv2 pretrain data/own/train (.*)$',
        r'mmbeitv2 pretrain data/own-train \1 --plan',
        'the plan alone',
    ),
    (
        r'(tools/benchmark/segmentation\.py --batch 1 --pairs) 5',
        r'\1 1',
        'one pair of steps',
    ),
    (
        r'^python tools/train\.py configs/demo/upernet_demo\.py (.*)--cfg-options ',
        r'python tools/train.py configs/demo/upernet_demo.py \1--work-dir work_dirs/short '
        r'--cfg-options train_cfg.max_iters=4 train_cfg.val_interval=4 param_scheduler.0.end=1 '
        r'param_scheduler.1.begin=1 param_scheduler.1.end=4 val_dataloader.dataset.indices=16 '
        r'test_dataloader.dataset.indices=16 ',
        '4 iterations',
    ),
)
# A pattern, the minutes that it takes on two cores, or None where it is hours.
LONG = (
    (r'quickstart\.sh$', 12),
    (r'quickstart\.sh --long', None),
    (r'run_tests\.sh$', 16),
    (r'run_tests\.sh --all', None),
    (r'run_tests\.sh -m equality', 12),
    (r'demo_ablations\.py$', None),
    (r'small_data\.py --minutes', None),
    (r'example_fashion_mnist\.(sh|py)\b', 8),
    (r'vit-l16|beitv2-l16', 5),
    (r'benchmark/export\.py', 8),
)
# A pattern, and what such a command needs that no machine has by itself.
NEEDS = (
    (r'\bapt-get\b', 'the network, and root'),
    (r'\bpip install (?!-c)', 'the network'),
    (r'\btest_upstream\.sh', 'the network: it builds another environment'),
    (r'cityscapes', 'Cityscapes'),
    (r'finetune_teacher_clip', 'the network: the image tower of CLIP'),
    (r'slurm_\w+\.sh|\bsrun\b', 'a SLURM cluster'),
    (r'\bgpu\.sh\b', 'a GPU'),
)


class Plan(NamedTuple):
    """What is run in a command's place.

    Args:
        how: ``'as it stands'``, ``'shortened'`` or ``'cannot run here'``.
        lines: of a shell, one for each choice of a usage line; empty if it cannot run.
        note: what was changed, or what is missing.
        minutes: how long it takes on two cores as far as known; infinite: hours.
        config: the recipe's, whose checkpoints are made of random weights.
    """

    how: str
    lines: tuple[str, ...] = ()
    note: str = ''
    minutes: float = 0.0
    config: str = ''


def plan(command: Command) -> Plan:
    """Say how a command is tried.

    Args:
        command: of a page or of a config's docstring.
    """
    if command.needs:
        return Plan('cannot run here', note=f'needs {command.needs}')
    for pattern, needed in NEEDS:
        if re.search(pattern, command.text):
            return Plan('cannot run here', note=f'needs {needed}')
    python = re.match(r'python3\.\d+', command.text)
    if python and not _runs(python[0]):
        return Plan('cannot run here', note=f'needs {python[0]}')
    minutes = _minutes(command.text)
    if recipe := RECIPE.match(command.text):
        line, note = shorten_recipe(recipe)
        return Plan('shortened', (line,), note, minutes, recipe['config'])
    lines, notes = [], []
    for line in expand_choices(command.text):
        for pattern, replacement, reason in REPLACEMENTS:
            changed = re.sub(pattern, replacement, line).strip()
            if changed != line and reason not in notes:
                notes.append(reason)
            line = changed
        lines.append(line)
    how = 'shortened' if notes else 'as it stands'
    return Plan(how, tuple(lines), '; '.join(notes), minutes)


def _runs(python: str) -> bool:
    """Whether there is such a Python; a version manager's name for one may lead to none."""
    if shutil.which(python) is None:
        return False
    started = subprocess.run([python, '--version'], capture_output=True, check=False)
    return started.returncode == 0


def _minutes(text: str) -> float:
    for pattern, minutes in LONG:
        if re.search(pattern, text):
            return float('inf') if minutes is None else minutes
    return 0.0

"""The first losses of every stage, against those in the repository: has a change moved training?

    python tools/golden_losses.py            # train, compare, exit code 2 where one differs
    python tools/golden_losses.py --renew    # the same, and keep the new ones

The demo's configs train 20 iterations of 8 photos each, two epochs, in float32, from seed 0:
reading and augmentation of photos, models, losses, schedules and optimisers show in the numbers.
A change that is to leave training as it was leaves them equal to rounding; another renews them, and
the difference stands in its commit.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
import PIL
import torch
from demo_data.make import make_demo_data
from mmengine.runner import Runner

from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.user_errors import EXIT_CODE

ROOT = Path(__file__).resolve().parents[1]
GOLDEN = ROOT / 'tests/golden/losses.json'
EPOCHS = 2
ITERATIONS = 20
BATCH = 8
PHOTOS = ITERATIONS // EPOCHS * BATCH
# Of the value. AVX2 instead of AVX-512, and two threads instead of one, change UperNet's losses by
# 2e-5 and the others by 4e-7.
TOLERANCE = 1e-4
# Config, data, the file that it starts from if any; in the order in which they are trained.
STAGES = {
    'vqkd': ('vqkd_demo.py', 'imagenet', None),
    'pretraining': ('beitv2_demo.py', 'imagenet', 'tokenizer_checkpoint'),
    'fine-tuning': ('finetune_demo.py', 'imagenet', 'model.backbone.init_cfg.checkpoint'),
    'linear probe': ('linear_probe_demo.py', 'imagenet', 'model.backbone.init_cfg.checkpoint'),
    'segmentation': ('upernet_demo.py', 'ade', 'model.backbone.init_cfg.checkpoint'),
}
STARTS_FROM = {'pretraining': 'vqkd'}  # the others: from pretraining

Losses = dict[str, list[float]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--renew', action='store_true', help=f'write {GOLDEN.relative_to(ROOT)}')
    return parser.parse_args(argv)


def versions() -> dict[str, str]:
    """Whose arithmetic and random numbers the losses are: others' differ by more than rounding."""
    modules = dict(torch=torch, numpy=np, Pillow=PIL)
    return {name: module.__version__.split('+')[0] for name, module in modules.items()}


def train_stages(folder: Path) -> dict[str, Losses]:
    """Losses of all stages by name.

    Args:
        folder: an empty one for photos and checkpoints.
    """
    data = make_photos(folder / 'data')
    return {stage: train_stage(stage, folder, data) for stage in STAGES}


def make_photos(folder: Path) -> Path:
    """Compose the photos that all stages are trained on."""
    counts = dict(train=PHOTOS, seg_train=PHOTOS, val=BATCH)
    make_demo_data(folder, ROOT / 'demo/assets', image_size=128, **counts)
    return folder


def train_stage(
    stage: str, folder: Path, data: Path, changes: Mapping[str, object] | None = None
) -> Losses:
    """Train one stage; its losses by term, one an iteration.

    Args:
        stage: key of ``STAGES``.
        folder: where the stages before it wrote their checkpoints.
        data: folder of demo photos.
        changes: further overrides of the config, by dotted key.
    """
    config, dataset, start = STAGES[stage]
    options = {**_options(data / dataset), **(changes or {})}
    if start is not None:
        before = STARTS_FROM.get(stage, 'pretraining')
        options[start] = str(folder / before / f'epoch_{EPOCHS}.pth')
    cfg = load_config(ROOT / 'configs/demo' / config, options)
    for phase in ('val', 'test'):
        cfg.update({f'{phase}_{part}': None for part in ('dataloader', 'cfg', 'evaluator')})
    if 'max_iters' in cfg.train_cfg:
        cfg.train_cfg.max_iters = ITERATIONS
    else:
        cfg.train_cfg.max_epochs = EPOCHS
    cfg.work_dir = str(folder / stage)
    cfg.experiment_name = f'{folder.name}_{stage}'
    # Named in the config, it would be one that an earlier run of this process has made.
    cfg.visualizer.name = cfg.experiment_name
    Runner.from_cfg(cfg).train()
    scalars = next(Path(cfg.work_dir).glob('*/vis_data/scalars.json'))
    records = [json.loads(line) for line in scalars.read_text().splitlines()]
    steps = [record for record in records if 'loss' in record]
    return {name: [step[name] for step in steps] for name in steps[0] if 'loss' in name}


def _options(data: Path) -> dict[str, object]:
    return {
        'optim_wrapper.precision': 'float32',
        'train_dataloader.dataset.data_root': str(data),
        'train_dataloader.batch_size': BATCH,
        'train_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'default_hooks.logger.interval': 1,
        'log_processor.window_size': 1,
        'log_level': 'WARNING',
    }


def differences(found: Mapping[str, Losses], golden: Mapping[str, Losses]) -> dict[str, float]:
    """Largest |found − golden| / |golden| of each stage's terms; infinite where one is missing.

    Args:
        found: losses by stage and term.
        golden: those to compare with.
    """
    both = (found, golden)
    terms = sorted({(stage, term) for losses in both for stage in losses for term in losses[stage]})
    result = {}
    for stage, term in terms:
        ours, theirs = (np.array(losses.get(stage, {}).get(term, [])) for losses in both)
        if ours.shape == theirs.shape:
            gap = np.max(np.abs(ours - theirs) / np.abs(theirs))
        else:
            gap = np.inf
        result[f'{stage}: {term}'] = float(np.nan_to_num(gap, nan=np.inf, posinf=np.inf))
    return result


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    golden = json.loads(GOLDEN.read_text()) if GOLDEN.is_file() else dict(losses={}, versions={})
    with tempfile.TemporaryDirectory() as folder:
        found = train_stages(Path(folder))
    if golden['versions'] != versions():
        print(f'trained with {versions()}, kept are losses of {golden["versions"]}')
    changed = differences(found, golden['losses'])
    print(f'largest difference of {ITERATIONS} losses, of their value')
    for name, gap in changed.items():
        print(f'  {name:40} {gap:.1e}{"" if gap <= TOLERANCE else "  DIFFERS"}')
    if args.renew:
        kept = dict(versions=versions(), losses=found)
        GOLDEN.write_text(json.dumps(kept, indent=1) + '\n')
        print(f'{GOLDEN.relative_to(ROOT)} written')
    elif max(changed.values()) > TOLERANCE:
        print('training is not what it was: mend it, or keep it by --renew', file=sys.stderr)
        sys.exit(EXIT_CODE)


if __name__ == '__main__':
    main()

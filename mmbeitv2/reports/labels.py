"""The quick start's curves over the number of labels: fine-tuning, and a probe of frozen features.

Fine-tuning with k labelled photos a class lies at ``seedN/labels_K_{pretrained,random}``, with all
of them at ``seedN/finetune_{pretrained,random}``; ``tools/few_shot.py --train`` has written
``seedN/labels/probe.json``. A share of the labels is how SimCLR (arXiv 2002.05709) and BYOL (arXiv
2006.07733) are fine-tuned, a few a class how MSN (arXiv 2204.07141) is probed.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from mmbeitv2.errors import MissingFileError
from mmbeitv2.reports.baselines import majority_share
from mmbeitv2.reports.html import Section
from mmbeitv2.reports.quickstart import CLASS_FOLDERS, metrics_of, seed_folders
from mmbeitv2.reports.summary import spread
from mmbeitv2.visualization.label_curves import LabelPanel, Point, label_curves

TRAINING = 'imagenet/train'
FEW = (1, 4, 16)
STARTS = {'pretrained': 'pretrained', 'random init': 'random'}
# Of the probe's features, as tools/few_shot.py names them.
SHOWN = ('pretrained, [CLS]', 'random weights, [CLS]', 'mean colours, 4 × 4', 'teacher')
LOOK = (
    'How many labels does it take? Left, the whole network is fine-tuned on 1, 4, 16 or all '
    'labelled training photos a class; right, ridge regression on its frozen [CLS] learns from as '
    'many. Above, the photos asked about show the training photos’ cut-outs in other places; '
    'below, other cut-outs. Blue should lie above orange (the same network from random weights); '
    'grey are colours alone and the teacher, which has seen a million labelled photos. The few '
    'labelled photos are the same for blue and orange, those of fewer labels are some of those of '
    'more, and they show different cut-outs while a class has enough of them. Bands: left, the 95 '
    '% interval over the photos asked about, which leaves out that other labelled photos would '
    'give other figures; right, that over 20 draws of the labelled photos, at “all” over the '
    'photos asked about; with several seeds, the standard deviation over them.'
)


def section(work_dir: Path, data_root: Path) -> Section:
    """Section of the report; without a picture before the stage has run.

    Args:
        work_dir: of the quick start.
        data_root: of the demo photos.
    """
    seeds = seed_folders(work_dir)
    rows = []
    if any(left for seed in seeds for left in seed.glob('labels*/*')):
        rows = [[_tuned(seeds, data_root, data), _probed(seeds, data)] for data in CLASS_FOLDERS]
    drawn = any(panel for row in rows for panel in row)
    picture = label_curves(rows, work_dir / 'labels.png') if drawn else None
    return Section('Fewer labels', LOOK, picture)


def _tuned(seeds: Sequence[Path], data_root: Path, data: str) -> LabelPanel | None:
    curves: dict[str, dict[float, Point]] = {}
    every = _training_photos(data_root)
    photos = sum(1 for _ in (data_root / CLASS_FOLDERS[data]).glob('*/*'))
    stages = {k: f'labels_{k}' for k in FEW} | {every: 'finetune'}
    for name, start in STARTS.items():
        for k, stage in stages.items():
            metrics = (metrics_of(seed / f'{stage}_{start}', data) for seed in seeds)
            found = [m['accuracy/top1'] / 100 for m in metrics if 'accuracy/top1' in m]
            if found:
                over_photos = 1.96 * (found[0] * (1 - found[0]) / photos) ** 0.5
                curves.setdefault(name, {})[k] = _point(found, over_photos)
    if not curves:
        return None
    guess = majority_share(data_root / CLASS_FOLDERS[data])
    return LabelPanel(_title('Fine-tuning', data), curves, every, guess)


def _probed(seeds: Sequence[Path], data: str) -> LabelPanel | None:
    files = [seed / 'labels' / 'probe.json' for seed in seeds]
    split = Path(CLASS_FOLDERS[data]).name
    found = [json.loads(file.read_text())[split] for file in files if file.is_file()]
    if not found:
        return None
    every = found[0]['training_photos_a_class']
    curves = {
        name: {
            every if k == 'all' else int(k): _point(
                [fmean(seed['features'][name][k]) for seed in found],
                found[0]['intervals'][name][k],
            )
            for k in found[0]['features'][name]
        }
        for name in SHOWN
        if name in found[0]['features']
    }
    return LabelPanel(_title('Probe', data), curves, every, 1 / found[0]['classes'])


def _point(by_seed: Sequence[float], interval: float) -> Point:
    """Mean over the seeds with their spread; of one seed with its own interval."""
    deviation = spread(by_seed)
    return Point(fmean(by_seed), interval if deviation is None else deviation)


def _title(what: str, data: str) -> str:
    return f'{what}, {data.split(",")[0]}'


def _training_photos(data_root: Path) -> float:
    """Training photos a class."""
    folder = data_root / TRAINING
    counts = [sum(1 for _ in classes.iterdir()) for classes in folder.glob('*/')]
    if not sum(counts):
        raise MissingFileError(
            f'no training photos in {folder}, whose number the curves over labels need: write the '
            'demo data with `python tools/make_demo_data.py` or give their place with --data-root.'
        )
    return fmean(counts)

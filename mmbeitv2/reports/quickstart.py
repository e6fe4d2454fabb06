"""The figures of a quick start, read from the work directories of its stages.

Stages lie at ``WORK/vqkd``, ``WORK/seed0/pretrain`` and
``WORK/seed0/{probe,finetune,labels_K,segment}_{pretrained,random}``; further seeds beside
``seed0``.
"""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from mmbeitv2.reports import few_shot
from mmbeitv2.reports.baselines import background_miou, majority_share
from mmbeitv2.reports.summary import Measurement, accuracy_interval
from mmbeitv2.visualization import runs

KNOWN, UNSEEN = 'known objects, unseen backgrounds', 'unseen objects, unseen backgrounds'
CLASS_FOLDERS = {KNOWN: 'imagenet/val', UNSEEN: 'imagenet/val_unseen'}
SEGMENT_FOLDERS = {KNOWN: 'validation', UNSEEN: 'validation_unseen'}
# Name, stage, key of the metric, factor to a share of 1.
COMPARED = (
    ('Linear probe, [CLS]', 'probe', 'probe/top1_cls', 1),
    ('Linear probe, mean of patches', 'probe', 'probe/top1_avg', 1),
    ('Fine-tuning, top-1 accuracy', 'finetune', 'accuracy/top1', 0.01),
    ('Segmentation, mIoU', 'segment', 'mIoU', 0.01),
)
FEW_LABELS = (('Fine-tuning, 16 labels a class', 'labels_16', 'accuracy/top1', 0.01),)
CARRIED_OVER = (
    'trained on labels of known objects, asked about unseen ones: a hundred cut-outs hardly show '
    'what, say, birds have in common'
)
MASKED = (
    ('Masked codes, last layer', 'masked_codes/acc_mim'),
    ('Masked codes, from [CLS]', 'masked_codes/acc_cls'),
)


def metrics_of(stage: Path, data: str) -> dict[str, float]:
    """Newest value of everything a stage logged, or the metrics of the test after its training."""
    if data == UNSEEN:
        return runs.read_test_metrics(stage)
    return {
        k: v
        for record in runs.read_scalars(stage)
        for k, v in record.items()
        if '/' in k or k == 'mIoU'
    }


def measure(work_dir: Path, data_root: Path) -> list[Measurement]:
    """All figures of the summary, for both validation sets."""
    return [m for data in (KNOWN, UNSEEN) for m in _measure(work_dir, data_root, data)]


def _measure(work_dir: Path, data_root: Path, data: str) -> Iterator[Measurement]:
    seeds = seed_folders(work_dir)
    accuracy = majority_share(data_root / CLASS_FOLDERS[data])
    miou = background_miou(data_root / 'ade/annotations' / SEGMENT_FOLDERS[data])

    def by_seed(stage: str, key: str, factor: float = 1) -> dict[str, float]:
        found = {seed.name: metrics_of(seed / stage, data).get(key) for seed in seeds}
        return {name: factor * value for name, value in found.items() if value is not None}

    results = few_shot.read(seeds, Path(CLASS_FOLDERS[data]).name)
    yield from few_shot.measurements(results, data)
    photos = sum(1 for _ in (data_root / CLASS_FOLDERS[data]).glob('*/*'))
    for name, stage, key, factor in (*COMPARED, *FEW_LABELS):
        ours = by_seed(f'{stage}_pretrained', key, factor)
        theirs = by_seed(f'{stage}_random', key, factor)
        interval = None
        if ours and theirs and stage != 'segment':
            first = next(iter(ours.values())), next(iter(theirs.values()))
            interval = accuracy_interval(*first, photos)
        notes = ['guess: background everywhere'] if stage == 'segment' else []
        notes += ['one draw of labelled photos, the same for both'] if 'labels' in stage else []
        notes += [CARRIED_OVER] if data == UNSEEN and stage != 'segment' else []
        yield Measurement(
            name,
            data,
            ours,
            theirs,
            baseline=miou if stage == 'segment' else accuracy,
            note='; '.join(notes),
            interval=interval,
        )
    num_codes = codebook_size(work_dir)
    majority = by_seed('pretrain', 'masked_codes/acc_majority').values()
    for name, key in MASKED:
        yield Measurement(
            name,
            data,
            by_seed('pretrain', key),
            baseline=max(majority, default=None),
            note='guess: the most frequent code'
            + (f'; at random {100 / num_codes:.1f} %' if num_codes else ''),
        )
    tokenizer = metrics_of(work_dir / 'vqkd', data)
    losses = runs.series(runs.read_scalars(work_dir / 'vqkd'), 'loss_rec')[1]
    for name, key, percent, note in (
        (
            'Tokenizer, reconstruction loss',
            'tokenizer/reconstruction',
            False,
            '1 − cosine, less is better'
            + (f'; {losses[0]:.3f} in the first training steps' if losses else ''),
        ),
        ('Tokenizer, codes in use', 'tokenizer/codebook_usage', True, f'of {num_codes or "all"}'),
        (
            'Tokenizer, perplexity',
            'tokenizer/codebook_perplexity',
            False,
            f'1 to {num_codes or "the number of codes"}',
        ),
    ):
        values = {'vqkd': tokenizer[key]} if key in tokenizer else {}
        yield Measurement(name, data, values, percent=percent, note=note)


def seed_folders(work_dir: Path) -> list[Path]:
    """Folders ``seed0``, ``seed1``, … in order."""
    return sorted(work_dir.glob('seed[0-9]*'), key=lambda path: int(path.name[4:]))


def codebook_size(work_dir: Path) -> int | None:
    """K of the tokenizer's config, None before its training."""
    config = runs.config_file(work_dir / 'vqkd')
    return None if config is None else Config.fromfile(config).model.quantizer.num_codes

"""The figures of a quick start, read from the work directories of its stages.

Stages lie at ``WORK/vqkd``, ``WORK/seed0/pretrain`` and
``WORK/seed0/{probe,finetune,labels_K,segment}_{pretrained,random}``; further seeds beside
``seed0``.
"""

from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config

from mmbeitv2.reports import dense_probe, few_shot
from mmbeitv2.reports.baselines import background_miou, majority_share
from mmbeitv2.reports.outcomes import Judged, gain_interval
from mmbeitv2.reports.summary import Measurement
from mmbeitv2.visualization import runs

KNOWN, UNSEEN = 'known objects, unseen backgrounds', 'unseen objects, unseen backgrounds'
CLASS_FOLDERS = {KNOWN: 'imagenet/val', UNSEEN: 'imagenet/val_unseen'}
SEGMENT_FOLDERS = {KNOWN: 'validation', UNSEEN: 'validation_unseen'}
# Name, stage, key of the metric, factor to a share of 1.
COMPARED = (
    ('Linear probe, [CLS]', 'probe', 'probe/top1_cls', 1),
    ('Linear probe, mean of patches', 'probe', 'probe/top1_avg', 1),
    ('Fine-tuning, top-1 accuracy', 'finetune', 'accuracy/top1', 0.01),
    ('Segmentation by UperNet, mIoU', 'segment', 'mIoU', 0.01),
)
FEW_LABELS = (('Fine-tuning, 16 labels a class', 'labels_16', 'accuracy/top1', 0.01),)
CARRIED_OVER = (
    'trained on labels of known objects, asked about unseen ones: a hundred cut-outs hardly show '
    'what, say, birds have in common'
)
NEW_HEAD = (
    'probably since a new head learns more in so few steps from a photo’s colours, which random '
    'weights hand on, than from features of so short a pretraining; the linear row asks these alone'
)
PHASES = {KNOWN: 'val', UNSEEN: 'test'}
MASKED = (
    ('Masked codes, last layer', 'masked_codes/acc_mim'),
    ('Masked codes, from [CLS]', 'masked_codes/acc_cls'),
)
# Added to the name, key of the metric, what it is.
GUESSES = (
    ('', 'masked_codes/acc_majority', 'guess: the most frequent code'),
    (
        ', beside copying',
        'masked_codes/acc_neighbour',
        'guess: the true code of the nearest visible patch, which the model does not see',
    ),
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
    results = few_shot.read(seed_folders(work_dir), Path(CLASS_FOLDERS[data]).name)
    yield from few_shot.measurements(results, data)
    folder = SEGMENT_FOLDERS[data]
    probed = dense_probe.read(seed_folders(work_dir), folder)
    background = background_miou(data_root / 'ade/annotations' / folder)
    yield dense_probe.measurement(probed, data, background)
    yield from _compared(work_dir, data_root, data)
    yield from _masked_codes(work_dir, data)
    yield from _tokenizer(work_dir, data)


def _compared(work_dir: Path, data_root: Path, data: str) -> Iterator[Measurement]:
    """What training from pretrained weights reaches beside training from random ones."""
    accuracy = majority_share(data_root / CLASS_FOLDERS[data])
    miou = background_miou(data_root / 'ade/annotations' / SEGMENT_FOLDERS[data])
    for name, stage, key, factor in (*COMPARED, *FEW_LABELS):
        starts = [f'{stage}_{start}' for start in ('pretrained', 'random')]
        ours, theirs = (_by_seed(work_dir, start, key, data, factor) for start in starts)
        note = 'guess: background everywhere' if stage == 'segment' else ''
        if 'labels' in stage:
            note = 'one draw of labelled photos, the same for both'
        yield Measurement(
            name,
            data,
            ours,
            theirs,
            baseline=miou if stage == 'segment' else accuracy,
            note=note,
            interval=_interval(work_dir, data, (starts[0], key), (starts[1], key)),
            reason=_reason(stage, data),
        )


def _reason(stage: str, data: str) -> str:
    if stage == 'segment':
        return NEW_HEAD
    return CARRIED_OVER if data == UNSEEN else ''


def _masked_codes(work_dir: Path, data: str) -> Iterator[Measurement]:
    """What both branches predict behind the masks, beside each guess."""
    num_codes = codebook_size(work_dir)
    at_random = f'; at random {100 / num_codes:.1f} %' if num_codes else ''
    for name, key in MASKED:
        for addition, guess, note in GUESSES:
            yield Measurement(
                name + addition,
                data,
                _by_seed(work_dir, 'pretrain', key, data),
                baseline=max(_by_seed(work_dir, 'pretrain', guess, data).values(), default=None),
                note=note + at_random * (not addition),
                interval=_interval(work_dir, data, ('pretrain', key), ('pretrain', guess)),
                over_guess=True,
            )


def _tokenizer(work_dir: Path, data: str) -> Iterator[Measurement]:
    num_codes = codebook_size(work_dir)
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


def _by_seed(
    work_dir: Path, stage: str, key: str, data: str, factor: float = 1
) -> dict[str, float]:
    seeds = seed_folders(work_dir)
    found = {seed.name: metrics_of(seed / stage, data).get(key) for seed in seeds}
    return {name: factor * value for name, value in found.items() if value is not None}


def _interval(
    work_dir: Path, data: str, ours: tuple[str, str], others: tuple[str, str]
) -> tuple[float, float] | None:
    """Of a stage's metric and another's; of several seeds the spread counts, not the photos."""
    seeds = [set(_by_seed(work_dir, stage, key, data)) for stage, key in (ours, others)]
    if len(seeds[0]) != 1 or seeds[0] != seeds[1]:
        return None
    folder = work_dir / seeds[0].pop()
    first, second = (Judged(folder / stage, key) for stage, key in (ours, others))
    return gain_interval(first, second, PHASES[data])


def seed_folders(work_dir: Path) -> list[Path]:
    """Folders ``seed0``, ``seed1``, … in order."""
    return sorted(work_dir.glob('seed[0-9]*'), key=lambda path: int(path.name[4:]))


def codebook_size(work_dir: Path) -> int | None:
    """K of the tokenizer's config, None before its training."""
    config = runs.config_file(work_dir / 'vqkd')
    return None if config is None else Config.fromfile(config).model.quantizer.num_codes

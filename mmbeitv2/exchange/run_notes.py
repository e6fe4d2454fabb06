"""What a run noted in and beside its checkpoint that other projects want to be told."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmbeitv2.checkpoints.catalogue import described
from mmbeitv2.checkpoints.noted_config import noted_config
from mmbeitv2.checkpoints.reading import read_training_checkpoint
from mmbeitv2.checkpoints.sources import local_file
from mmbeitv2.datasets.data_preprocessor import IMAGENET_MEAN, IMAGENET_STD
from mmbeitv2.datasets.decoding import check_value_range
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.fine_tuned import declared_classes
from mmbeitv2.own_configs import find_config
from mmbeitv2.registry import class_name

RECORD = 'run.json'
# Beside it, mmengine's: a line of JSON for each look at the losses, and for each validation.
SCALARS = 'vis_data/scalars.json'
# Of the folder that mmengine names by the time of the start, and of `experiment_name`.
TIMESTAMP_LENGTH = len('20261126_082135')
# The paper's test: the centre of 224 pixels of a photo whose shorter side has 256.
CENTRE_OF_SHORT_SIDE = 224 / 256
# mmcv's, and the one that stands for it in segmentation; this project's crops read RGB.
BGR_LOADERS = ('LoadImageFromFile', 'LoadSegmentationImage')
OUR_CROP = 'LoadCenterCrop'
DECIMALS = 6


@dataclass(frozen=True)
class RunNotes:
    """What is known of the training of a checkpoint; all of it empty for files of weights alone.

    Attributes:
        recipe: name of the config.
        epoch: that the weights are of.
        seed: of the run.
        data: names of the folders that were trained on, without the path to them.
        results: of the validation of these weights, by the metric's name.
        classes: their names, in order of their numbers.
        layer_scale: that every layer began with.
        mean: of every channel that photos are normalised by, on the scale [0, 1].
        std: likewise.
        bgr: whether the channels are blue, green and red, instead of RGB.
        centre: pixels, side of the centre that photos are tested on.
        short_side: pixels, shorter side of the photo that it is the centre of.
        value_range: black and white of photos of float or 32-bit numbers.
        record: of ``run.json``: command, seed, processes, devices, versions, git state.
    """

    recipe: str = ''
    epoch: int | None = None
    seed: int | None = None
    data: tuple[str, ...] = ()
    results: dict[str, float] = field(default_factory=dict)
    classes: tuple[str, ...] = ()
    layer_scale: float | None = None
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    bgr: bool = False
    centre: int | None = None
    short_side: int | None = None
    value_range: tuple[float, float] | None = None
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation; ImageNet's, as all published models have, unless noted."""
        return (self.mean, self.std) if self.mean else (IMAGENET_MEAN, IMAGENET_STD)

    @property
    def normalization_of_rgb(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The same, for readers who have photos as RGB.

        Raises:
            ValueError: the model sees BGR.
        """
        if self.bgr:
            raise InputError(
                'the checkpoint was trained on photos in the order BGR, but here they are '
                'RGB: train with to_rgb=True in data_preprocessor, or convert it for mmpretrain'
            )
        return self.normalization

    def resized_side(self, img_size: int) -> int:
        """Shorter side in pixels of a photo whose centre of ``img_size`` pixels is seen."""
        if self.centre == img_size and self.short_side:
            return self.short_side
        return round(img_size / CENTRE_OF_SHORT_SIDE)


def read_run_notes(source: str | Path) -> RunNotes:
    """What the run that wrote a checkpoint noted; of published weights what the catalogue knows.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`.
    """
    entry = described(source)
    meta = read_training_checkpoint(source, mapped=True).get('meta')
    if not isinstance(meta, Mapping):
        if entry is None:
            return RunNotes()
        meta = {}
    cfg = _config(meta, str(source))
    dataset = meta.get('dataset_meta') or {}
    if entry is not None:
        # What its publisher's file does not note, or by the names of his own project.
        config = Config.fromfile(find_config(entry.config))
        dataset, cfg = dataset or declared_classes(config, entry.kind), config.to_dict()
    experiment = str(meta.get('experiment_name', ''))
    with local_file(source) as path:
        start = path.parent / experiment[-TIMESTAMP_LENGTH:]
    record = _record(start / RECORD)
    mean, std, bgr = _normalization(cfg)
    centre, short_side = _centre(cfg)
    scale = _get(cfg, 'model', 'backbone', 'init_values')
    return RunNotes(
        recipe=experiment[: -TIMESTAMP_LENGTH - 1],
        epoch=meta.get('epoch'),
        seed=meta.get('seed'),
        data=() if entry is not None else _data(cfg),
        results=_results(start / SCALARS, (meta.get('epoch'), meta.get('iter'))),
        classes=tuple(map(str, dataset.get('classes') or ())),
        layer_scale=None if scale is None else float(scale),
        mean=mean,
        std=std,
        bgr=bgr,
        centre=centre,
        short_side=short_side,
        value_range=_value_range(cfg),
        record=record,
    )


def noted_value_range(source: str | Path, trust: bool = False) -> tuple[float, float] | None:
    """Black and white of float photos, as the run that wrote a checkpoint noted them, if it did.

    Args:
        source: see :func:`read_run_notes`.
        trust: nothing of a file with code is read twice: None.
    """
    return None if trust else read_run_notes(source).value_range


def _record(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    # A checkpoint that was moved away from its run has none beside it.
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _data(cfg: Mapping[str, Any]) -> tuple[str, ...]:
    roots = _get(cfg, 'train_dataloader', 'dataset', 'data_root')
    roots = [roots] if isinstance(roots, str) else roots
    if not isinstance(roots, list | tuple):
        return ()
    return tuple(Path(root).name for root in roots if isinstance(root, str))


def _results(path: Path, position: tuple[Any, ...]) -> dict[str, float]:
    """What a validation found where a checkpoint was saved, after its epoch or iteration."""
    try:
        lines = path.read_text(encoding='utf-8').splitlines()
        looks = [json.loads(line) for line in lines]
    except (OSError, ValueError):
        return {}
    found: dict[str, float] = {}
    for look in looks:
        # Losses are noted by their iteration, validations by their step alone.
        if isinstance(look, dict) and 'iter' not in look and look.get('step') in position:
            found.update({n: v for n, v in look.items() if '/' in n and isinstance(v, int | float)})
    return found


def _config(meta: Mapping[str, Any], source: str) -> dict[str, Any]:
    try:
        config = noted_config(meta, source)
    except InputError as error:
        # The weights can be converted all the same.
        print_log(f'nothing is noted of how photos are normalised: {error}', logger='current')
        return {}
    return {} if config is None else config.to_dict()


def _normalization(cfg: Mapping[str, Any]) -> tuple[tuple[float, ...], tuple[float, ...], bool]:
    """Mean, standard deviation, and whether they are of BGR; empty where they are not noted."""
    settings = _get(cfg, 'model', 'data_preprocessor') or cfg.get('data_preprocessor') or {}
    mean, std = settings.get('mean'), settings.get('std')
    if not mean or not std:
        return (), (), False
    # Pretraining has them on the scale [0, 1], the hosts' preprocessors on [0, 255].
    unit = 1 if max(*mean, *std) <= 1 else 255
    pipeline = _seen_by(cfg)
    read_as_bgr = any(class_name(step['type']) in BGR_LOADERS for step in pipeline)
    swaps = bool(settings.get('to_rgb') or settings.get('bgr_to_rgb'))
    bgr = bool(pipeline) and read_as_bgr != swaps
    return _scaled(mean, unit), _scaled(std, unit), bgr


def _value_range(cfg: Mapping[str, Any]) -> tuple[float, float] | None:
    ranges = (step.get('value_range') for step in _seen_by(cfg))
    return next((check_value_range(found) for found in ranges if found is not None), None)


def _scaled(values: list[float], unit: int) -> tuple[float, ...]:
    return tuple(round(value / unit, DECIMALS) for value in values)


def _centre(cfg: Mapping[str, Any]) -> tuple[int | None, int | None]:
    for transform in _pipeline(cfg, 'test'):
        if class_name(transform['type']) == OUR_CROP:
            size = transform['size']
            return size, transform.get('short_side') or size
    return None, None


def _seen_by(cfg: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Transforms of the test, or of training: pretraining need have no test."""
    return list(_flat(_pipeline(cfg, 'test') or _pipeline(cfg, 'train')))


def _flat(transforms: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Transforms, and those within them, such as of ``SampleSeeded``."""
    for transform in transforms:
        yield transform
        yield from _flat(transform.get('transforms') or ())


def _pipeline(cfg: Mapping[str, Any], phase: str) -> list[dict[str, Any]]:
    return _get(cfg, f'{phase}_dataloader', 'dataset', 'pipeline') or []


def _get(node: Any, *keys: str) -> Any:
    """Value under keys of nested dictionaries, None where one is not there."""
    for key in keys:
        node = node.get(key) if isinstance(node, Mapping) else None
    return node

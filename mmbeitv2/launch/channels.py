"""Check before a run that files, transforms and models agree on the number of channels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmbeitv2.datasets.channels import RGB, RGBView, read_channels
from mmbeitv2.datasets.listing import listed_samples, photo_path
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError
from mmbeitv2.launch.photo_folders import photo_folder
from mmbeitv2.registry import class_name

LOADING = ('LoadRandomCrop', 'LoadCenterCrop')
# They mix red, green and blue.
OF_RGB = ('JitterCrop', 'RandAugment', 'LoadImage')
MODEL_KEYS = ('model.encoder', 'model.backbone', 'model.target_generator.encoder')
TOKENIZER = 'model.target_generator.encoder.in_chans'


def check_channels(cfg: Config, phases: Sequence[str]) -> None:
    """Compare the channels of transforms, data preprocessor and model, and of the first photo.

    Args:
        cfg: The run's config.
        phases: Whose dataloaders are used.

    Raises:
        ValueError: Two that differ; a view of RGB that is missing; a transform of RGB alone; or a
            file with another number.
    """
    loading = {}
    for phase in phases:
        for transform in _transforms(cfg, phase):
            if class_name(transform['type']) in LOADING:
                loading[f'{phase}_dataloader'] = transform
    stated = {f'channels of {name}': t.get('channels', RGB) for name, t in loading.items()}
    models = {f'{key}.in_chans': node.get('in_chans', RGB) for key, node in _models(cfg)}
    if set((stated | models).values()) <= {RGB}:
        return
    processor = cfg.get('data_preprocessor') or {}
    stated['data_preprocessor.channels'] = _of_preprocessor(processor)
    view = processor.get('tokenizer_view')
    if view is not None and models.get(TOKENIZER) == RGB:
        RGBView(stated['data_preprocessor.channels'], view, 'data_preprocessor.tokenizer_view')
        models.pop(TOKENIZER)
    every = stated | models
    if len(set(every.values())) > 1:
        named = ', '.join(f'{key}={value}' for key, value in every.items())
        also = (
            ' (a tokenizer of RGB needs data_preprocessor.tokenizer_view)'
            if models.get(TOKENIZER) == RGB
            else ''
        )
        raise InputError(f'{named} must be one number, the channels of the files{also}')
    teacher = (cfg.get('model') or {}).get('teacher')
    if teacher is not None:
        RGBView(next(iter(every.values())), teacher.get('view'), 'model.teacher.view')
    for phase in phases:
        _check_pipeline(cfg, phase)
    for name, transform in loading.items():
        _check_first(cfg, name, transform)


def _of_preprocessor(processor: Mapping[str, Any]) -> int:
    """Channels of a data preprocessor; mmpretrain's has a mean for each instead."""
    mean = processor.get('mean')
    known = len(mean) if isinstance(mean, list | tuple) else RGB
    return int(processor.get('channels', known))


def _models(cfg: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key in MODEL_KEYS:
        node = cfg
        for part in key.split('.'):
            node = node.get(part) if isinstance(node, Mapping | Config) else None
        if isinstance(node, Mapping):
            yield key, node


def _transforms(cfg: Config, phase: str) -> Iterator[Mapping[str, Any]]:
    dataset = (cfg.get(f'{phase}_dataloader') or {}).get('dataset') or {}
    pending = list(dataset.get('pipeline') or [])
    while pending:
        transform = pending.pop(0)
        if isinstance(transform, Mapping) and 'type' in transform:
            yield transform
            pending += transform.get('transforms') or []


def _check_pipeline(cfg: Config, phase: str) -> None:
    for transform in _transforms(cfg, phase):
        if class_name(transform['type']) in OF_RGB:
            raise InputError(
                f'{phase}_dataloader: {transform["type"]} is for RGB: leave it out of the pipeline '
                'of images with other channels'
            )


def _check_first(cfg: Config, name: str, transform: Mapping[str, Any]) -> None:
    """Read the first photo of a data set, where its path is known without building it."""
    dataset = cfg[name].dataset
    photos = photo_folder(dataset, name) if 'type' in dataset else None
    if photos is None or any(place.kind == 'table' for place in photos.places):
        return
    first = next(iter(photos.images()), None)
    if first is not None:
        if photos.list is not None:
            first, _ = next(listed_samples(photos.list, photos.with_label))
        path = first if photos.places else photo_path(photos.folder, first)
        options = {key: transform.get(key) for key in ('backend_args', 'value_range')}
        try:
            read_channels(path, transform.get('channels', RGB), **options)
        except (UnreadableFileError, MissingFileError):
            # A photo that cannot be read is another matter, which on_error settles.
            if dataset.get('on_error') != 'replace':
                raise

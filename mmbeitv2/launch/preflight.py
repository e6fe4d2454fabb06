"""Checks of a config that need no model: missing files are reported before anything is built."""

from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmbeitv2.datasets.places import PACKED, kind_of
from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.launch.channels import check_channels
from mmbeitv2.launch.initial_weights import (
    check_initial_weights,
    check_load_from,
    is_remote,
)
from mmbeitv2.launch.labels import settle_labels
from mmbeitv2.launch.masks import check_masks
from mmbeitv2.launch.model_parts import check_num_codes
from mmbeitv2.launch.photo_folders import OWN, photo_folder
from mmbeitv2.launch.photos import check_photos
from mmbeitv2.launch.precision import check_precision
from mmbeitv2.registry import class_name, type_name

# EMAHook copies the model, CodebookInitHook encodes images before training.
WHOLE_MODEL_HOOKS = ('EMAHook', 'CodebookInitHook')


def check(cfg: Config, phases: Sequence[str] = ('train', 'val')) -> None:
    """Check that the data and checkpoints a run will read exist and that class counts agree.

    Args:
        cfg: the run's config, overrides applied.
        phases: whose dataloaders are used, of ``'train'``, ``'val'`` and ``'test'``; checkpoints
            that models start from are read by ``'train'`` alone.

    Raises:
        FileNotFoundError: at the first missing file or folder; the message says which one, who
            asks for it, and what to do.
        ValueError: a data set that is to give labels has no class folders, an empty one, or more
            than the classifier has classes; or a segmentation head another number; or a hook needs
            the whole model of a sharded run; or an evaluator counts other codes than the model has;
            or the machine lacks the precision.
    """
    if 'train' in phases:
        check_initial_weights(cfg)
        _check_sharding(cfg)
    check_precision(cfg, phases)
    check_num_codes(cfg, phases)
    check_load_from(cfg)
    check_data(cfg, phases)
    check_masks(cfg, phases)
    check_channels(cfg, phases)


def check_data(cfg: Config, phases: Sequence[str]) -> None:
    """Check the data alone: see :func:`check`."""
    num_classes = ((cfg.get('model') or {}).get('head') or {}).get('num_classes')
    labelled = []
    for phase in phases:
        name = f'{phase}_dataloader'
        for dataset in _datasets(cfg.get(name)):
            _check_dataset(dataset, name)
            _check_class_count(cfg, dataset, name)
            photos = photo_folder(dataset, name)
            if photos is not None:
                check_photos(photos, num_classes)
                labelled += [photos] if photos.with_label else []
    training = [
        photos
        for dataset in _datasets(cfg.get('train_dataloader'))
        if (photos := photo_folder(dataset, 'train_dataloader')) and photos.with_label
    ]
    settle_labels(cfg, labelled, training[0] if len(training) == 1 else None)


def _datasets(node: Any) -> Iterator[MutableMapping[str, Any]]:
    """Yield the innermost dataset configs below a dataloader, through lists and wrappers."""
    if isinstance(node, MutableMapping):
        inner = [node[key] for key in ('dataset', 'datasets') if key in node]
        if inner:
            for child in inner:
                yield from _datasets(child)
        elif 'type' in node:
            yield node
    elif isinstance(node, list | tuple):
        for child in node:
            yield from _datasets(child)


def _check_sharding(cfg: Config) -> None:
    strategy = cfg.get('strategy') or {}
    if not str(strategy.get('type')).endswith('ShardedStrategy'):
        return
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or [])]
    for hook in filter(None, hooks):
        if class_name(hook['type']) in WHOLE_MODEL_HOOKS:
            raise InputError(
                f'{hook["type"]} uses the model outside its training step, where ShardedStrategy '
                'leaves each process a part of it: remove the hook, or train without strategy and '
                'runner_type'
            )


def _check_dataset(dataset: Mapping[str, Any], dataloader: str) -> None:
    root = dataset.get('data_root') or ''
    if not isinstance(root, str):
        for one in root:
            _check_dataset({**dataset, 'data_root': one}, dataloader)
        return
    if dataset.get('download') or is_remote(root):
        return
    prefix = dataset.get('data_prefix') or ''
    prefixes = dict(prefix) if isinstance(prefix, Mapping) else {'data_prefix': prefix}
    if not any(prefixes.values()) and class_name(dataset['type']) in ('ImageNet', 'ImageNet21k'):
        # mmpretrain's ImageNet reads the folder named like its split.
        prefixes = {'split': dataset.get('split') or ''}
    paths = {'data_root': root}
    for key, value in {**prefixes, 'ann_file': dataset.get('ann_file')}.items():
        if value:
            paths[key] = str(Path(root, value).expanduser())
    for key, path in paths.items():
        # Patterns and files, which the check of photos looks up.
        packed = key != 'ann_file' and (kind_of(path) != 'folder' or path.endswith(PACKED))
        if not path or is_remote(path) or (packed and type_name(dataset['type']) == OWN):
            continue
        file = Path(path).expanduser()
        if file.is_file() and key != 'ann_file':
            raise InputError(
                f'{dataloader}: the {key} of {dataset["type"]} is {path!r}, a file, but must be a '
                'folder'
            )
        if file.is_dir() and key == 'ann_file' and 'Seg' not in dataset['type']:
            raise InputError(
                f'{dataloader}: the ann_file of {dataset["type"]} is {path!r}, a folder, but must '
                'be a list with one image a line; data_prefix names folders'
            )
        if not file.exists():
            raise MissingFileError(
                f'{dataloader}: the {key} of {dataset["type"]} is {path!r}, which does not exist '
                f'(looked from {Path.cwd()}). Put the data there, link it '
                f'(`ln -s /your/data {root or path}`), or set the path with '
                f'`--cfg-options {dataloader}.{_option(dataset, key)}=PATH` '
                'or in an inheriting config'
            )


def segmentation_classes(dataset: Mapping[str, Any]) -> int | None:
    """Number of classes of a data set of mmsegmentation; None where its config does not tell.

    Args:
        dataset: its config.
    """
    # Optional: only segmentation needs mmsegmentation.
    import mmseg.datasets  # noqa: F401  registers its data sets
    from mmseg.registry import DATASETS

    kind = DATASETS.get(dataset['type'])
    declared = getattr(kind, 'METAINFO', {}).get('classes')
    classes = (dataset.get('metainfo') or {}).get('classes', declared)
    return None if classes is None else len(classes)


def _check_class_count(cfg: Config, dataset: Mapping[str, Any], dataloader: str) -> None:
    heads = {
        f'model.{key}': head['num_classes']
        for key in ('decode_head', 'auxiliary_head')
        if isinstance(head := (cfg.get('model') or {}).get(key), Mapping) and 'num_classes' in head
    }
    if not heads:
        return
    count = segmentation_classes(dataset)
    for key, found in heads.items():
        if count is not None and found != count:
            raise InputError(
                f'{key}.num_classes is {found}, but {dataset["type"]} of {dataloader} has {count} '
                f'classes ({dataset.get("data_root")}): set both heads to '
                f'`--cfg-options model.decode_head.num_classes={count} '
                f'model.auxiliary_head.num_classes={count}`, or metainfo.classes of the data set'
            )


def _option(dataset: Mapping[str, Any], key: str) -> str:
    return 'dataset.data_root' if dataset.get('data_root') else f'dataset.{key}'

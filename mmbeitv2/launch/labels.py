"""One numbering of the classes in every split of a run, and in the test of its checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from timm.data import ImageNetInfo

from mmbeitv2.checkpoints.sources import is_missing
from mmbeitv2.datasets.labels import named
from mmbeitv2.errors import InputError
from mmbeitv2.launch.photos import OWN, PhotoFolder

# Metrics that tell by folder names themselves which of the classifier's classes they are.
MAPPING_METRICS = ('ImageNetSubsetAccuracy',)


def settle_labels(cfg: Config, splits: Sequence[PhotoFolder], training: PhotoFolder | None) -> None:
    """Compare the class folders of every split with training's, or with the tested checkpoint's.

    Training numbers the classes. A split without some of them is right with ``Photos``, which is
    told their names; mmpretrain's data sets number the folders that are there, so that there the
    same ones must be.

    Args:
        cfg: The run's config. ``classes`` of a tested ``Photos`` is set to the checkpoint's.
        splits: The data sets that the run uses and that class folders label.
        training: The training data, if class folders label them.

    Raises:
        ValueError: Class folders that differ, with their names.
    """
    tested = [split for split in splits if split.dataloader == 'test_dataloader']
    known = _classes_of_checkpoint(cfg.get('load_from')) if len(tested) == len(splits) else None
    if known is None and training is not None and training.folder.is_dir():
        known = training.classes()
        source = f'training, {str(training.folder)!r}'
    else:
        source = f'the checkpoint {cfg.get("load_from")!r}'
    for split in splits:
        if split.dataloader == 'train_dataloader' or _maps_itself(cfg, split.dataloader):
            continue
        given = split.config.get('classes') or (split.config.get('metainfo') or {}).get('classes')
        if known is not None:
            _compare(split, known, source, given)
            if split.own and not given and source.startswith('the checkpoint'):
                split.config['classes'] = list(known)
        elif not given:
            _settle_by_count(cfg, split)


def _compare(
    split: PhotoFolder, known: Sequence[str], source: str, given: Sequence[str] | None
) -> None:
    names = split.classes()
    unknown = [name for name in names if name not in set(known)]
    absent = [name for name in known if name not in set(names)]
    # mmpretrain lets classes have names of their own, in the order of the folders.
    kind = str(split.config['type']).split('.')[-1]
    renamed = kind == 'ImageNet' or (given and set(given) == set(known))
    if renamed and len(names) == len(known) and not set(names) & set(known):
        return
    if unknown:
        raise InputError(
            f'{split.dataloader}: {str(split.folder)!r} has class folders that are no classes of '
            f'{source}: {named(unknown)}'
            + (f'; those without a folder here: {named(absent)}' if absent else '')
            + '. Rename or remove them: labels are numbered by training'
        )
    if absent and not split.own:
        raise InputError(
            f'{split.dataloader}: {str(split.folder)!r} lacks the class folders {named(absent)} of '
            f'{source}, so that {split.config["type"]} would number the others differently: make '
            f'empty folders of these names, or set type={OWN!r} and classes_from to the folder '
            'of training'
        )


def _settle_by_count(cfg: Config, split: PhotoFolder) -> None:
    """Number the folders of tested data by themselves, where nothing else knows the classes."""
    head = (cfg.get('model') or {}).get('head') or {}
    names, count = split.classes(), head.get('num_classes')
    if count is not None and len(names) < count:
        raise InputError(
            f'{split.dataloader}: {str(split.folder)!r} has {len(names)} class folders, the head '
            f'{count} classes, and neither the checkpoint nor a folder of training data tells '
            'which: name all classes in the order of their labels '
            f'(type={OWN!r} and classes=[…] of the dataset)'
        )
    if split.own:
        split.config['classes'] = names


def _maps_itself(cfg: Config, dataloader: str) -> bool:
    evaluators = cfg.get(dataloader.replace('_dataloader', '_evaluator')) or []
    evaluators = evaluators if isinstance(evaluators, list | tuple) else [evaluators]
    return any(str(e.get('type')).split('.')[-1] in MAPPING_METRICS for e in _mappings(evaluators))


def _mappings(values: Sequence[Any]) -> Iterator[Mapping]:
    return (value for value in values if isinstance(value, Mapping))


def _classes_of_checkpoint(checkpoint: str | None) -> list[str] | None:
    """Class folders that a checkpoint was trained with; None where it does not tell."""
    if not checkpoint or '://' in checkpoint or is_missing(checkpoint):
        return None
    try:
        content = torch.load(checkpoint, map_location='cpu', weights_only=True, mmap=True)
    # A file of another kind: it is read and judged when its weights are loaded.
    except Exception:
        return None
    meta = content.get('meta') if isinstance(content, Mapping) else None
    dataset_meta = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    classes = (dataset_meta or {}).get('classes')
    if not classes:
        return None
    if tuple(classes) == tuple(IMAGENET_CATEGORIES):
        # mmpretrain's ImageNet names its classes in words, in the order of the folders.
        return ImageNetInfo('imagenet-1k').label_names()
    return list(classes)

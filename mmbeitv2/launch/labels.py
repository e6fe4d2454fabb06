"""One numbering of the classes in every split of a run, and in the test of its checkpoint."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmpretrain.datasets.categories import IMAGENET_CATEGORIES
from timm.data import ImageNetInfo

from mmbeitv2.checkpoints.reading import read_training_checkpoint
from mmbeitv2.checkpoints.sources import is_missing
from mmbeitv2.datasets.labels import named
from mmbeitv2.datasets.listing import class_folders, listed_samples
from mmbeitv2.errors import InputError, UserError
from mmbeitv2.launch.photo_folders import OWN, PhotoFolder
from mmbeitv2.registry import class_name

# Metrics that tell by folder names themselves which of the classifier's classes they are.
MAPPING_METRICS = ('ImageNetSubsetAccuracy',)


def settle_labels(cfg: Config, splits: Sequence[PhotoFolder], training: PhotoFolder | None) -> None:
    """Compare the class folders of every split with training's, or with the tested checkpoint's.

    Training numbers the classes. A split without some of them is right with ``Photos``, which is
    told their names; mmpretrain's data sets number the folders that are there, so that there the
    same ones must be.

    Args:
        cfg: The run's config. ``classes`` of a tested ``Photos`` is set to the checkpoint's.
        splits: The labelled data sets that the run uses.
        training: The training data, if they are labelled.

    Raises:
        ValueError: Class folders that differ, with their names; or a folder that a list gives
            another label than training does.
    """
    splits = [split for split in splits if not _maps_itself(cfg, split.dataloader)]
    if training is not None and (training.list or training.folder).exists():
        _compare_lists(training, splits)
    splits = [split for split in splits if split.labelled_by_names]
    if training is not None and not training.labelled_by_names:
        training = None
    tested = [split for split in splits if split.dataloader == 'test_dataloader']
    alone = tested and len(tested) == len(splits)
    known = _classes_of_checkpoint(cfg.get('load_from')) if alone else None
    if known is None and training is not None and (training.places or training.folder.is_dir()):
        known = training.classes()
        source = f'training, {str(training.folder)!r}'
    else:
        source = f'the checkpoint {cfg.get("load_from")!r}'
    for split in splits:
        if split.dataloader == 'train_dataloader':
            continue
        given = split.config.get('classes') or (split.config.get('metainfo') or {}).get('classes')
        if known is not None:
            _compare(split, known, source, given)
            by_table = split.places or (training is not None and training.places)
            if split.own and not given and (by_table or source.startswith('the checkpoint')):
                split.config['classes'] = list(known)
        elif not given and _training_folder(split) is None:
            _settle_by_count(cfg, split)


def _compare_lists(training: PhotoFolder, splits: Sequence[PhotoFolder]) -> None:
    """Compare labels by folder names where a list gives those of one side."""
    # Tars and tables have no folders to compare.
    if training.places:
        return
    others = [
        s
        for s in splits
        if s.dataloader != 'train_dataloader' and not s.places and (s.list or training.list)
    ]
    known = _labels_by_folder(training) if others else {}
    for split in others:
        for folder, label in _labels_by_folder(split).items():
            if known.get(folder, label) != label:
                raise InputError(
                    f'{split.dataloader}: the images of {folder!r} have the label {label} in '
                    f'{str(split.list or split.folder)!r}, but {known[folder]} in training, '
                    f'{str(training.list or training.folder)!r}: number the classes alike, with '
                    'lists for both, or class folders for both'
                )


def _labels_by_folder(photos: PhotoFolder) -> dict[str, int]:
    """Label of every class folder; of a list, of the folders whose images have one label."""
    if photos.list is None:
        names = photos.classes()
        given = photos.config.get('classes') or (photos.config.get('metainfo') or {}).get('classes')
        if isinstance(given, list | tuple) and set(names) <= set(given):
            names = list(given)
        elif source := _training_folder(photos):
            names = class_folders(source)
        return {name: label for label, name in enumerate(names)}
    labels: dict[str, int | None] = {}
    for name, label in listed_samples(photos.list, True):
        folder = name.split('/')[0]
        if '/' in name:
            labels[folder] = label if labels.get(folder, label) == label else None
    return {folder: label for folder, label in labels.items() if label is not None}


def _training_folder(photos: PhotoFolder) -> Path | None:
    """The folder of ``classes_from``, None where it is not given or not there."""
    if not photos.config.get('classes_from'):
        return None
    root = photos.config.get('data_root') or ''
    folder = Path(root, photos.config['classes_from']).expanduser()
    return folder if folder.is_dir() else None


def _compare(
    split: PhotoFolder, known: Sequence[str], source: str, given: Sequence[str] | None
) -> None:
    names = split.classes()
    unknown = [name for name in names if name not in set(known)]
    absent = [name for name in known if name not in set(names)]
    # mmpretrain lets classes have names of their own, in the order of the folders.
    kind = class_name(split.config['type'])
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


def _mappings(values: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    return (value for value in values if isinstance(value, Mapping))


def _classes_of_checkpoint(checkpoint: str | None) -> list[str] | None:
    """Class folders that a checkpoint was trained with; None where it does not tell."""
    if not checkpoint or '://' in checkpoint or is_missing(checkpoint):
        return None
    try:
        meta = read_training_checkpoint(checkpoint, mapped=True).get('meta')
    # It is judged when its weights are loaded.
    except UserError:
        return None
    dataset_meta = meta.get('dataset_meta') if isinstance(meta, Mapping) else None
    classes = (dataset_meta or {}).get('classes')
    if not classes:
        return None
    if tuple(classes) == tuple(IMAGENET_CATEGORIES):
        # mmpretrain's ImageNet names its classes in words, in the order of the folders.
        return ImageNetInfo('imagenet-1k').label_names()
    return list(classes)

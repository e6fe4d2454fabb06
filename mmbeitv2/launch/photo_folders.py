"""Photos of a data set's config: where they lie, what names their classes, before it is built."""

from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from typing import Any

from mmbeitv2.datasets.labels import named
from mmbeitv2.datasets.listing import (
    LeftOut,
    class_folders,
    listed_lines,
    readable_extensions,
    walk_images,
)
from mmbeitv2.datasets.places import PACKED, Place, kind_of, places_of
from mmbeitv2.errors import InputError
from mmbeitv2.registry import type_name

OWN = 'mmbeitv2.Photos'
PEERS = ('CustomDataset', 'ImageNet', 'ImageNet21k')
# Of mmpretrain's data sets.
PEER_EXTENSIONS = ('.jpg', '.jpeg', '.png', '.ppm', '.bmp', '.pgm', '.tif')


class PhotoFolder:
    """Where a data set of photos looks, read off its config.

    Args:
        dataset: Config of ``Photos``, or of one of mmpretrain's ``PEERS``.
        dataloader: Its name in the config.
    """

    def __init__(self, dataset: MutableMapping[str, Any], dataloader: str) -> None:
        self.config = dataset
        self.dataloader = dataloader
        self.own = dataset['type'] == OWN
        root, split = dataset.get('data_root') or '', dataset.get('split') or ''
        self.places = _places(dataset) if self.own else []
        if not isinstance(root, str):
            root = root[0]
        prefix = dataset.get('data_prefix') or split
        if isinstance(prefix, Mapping):
            prefix = prefix.get('img_path') or ''
        self.folder = Path(root, prefix).expanduser()
        self.with_label = dataset.get('with_label', True) and split != 'test'
        self.list: Path | None = None
        if dataset.get('ann_file'):
            self.list = Path(root, dataset['ann_file']).expanduser()
        elif split and Path(root, 'meta', f'{split}.txt').is_file():
            self.list = Path(root, 'meta', f'{split}.txt')
        default = readable_extensions() if self.own else PEER_EXTENSIONS
        self.extensions = tuple(e.lower() for e in dataset.get('extensions') or default)

    @property
    def labelled_by_folders(self) -> bool:
        """Whether class folders give the labels."""
        return self.with_label and self.list is None and not self.places

    @property
    def labelled_by_names(self) -> bool:
        """Whether classes have names here: those of class folders, or of a table's label column."""
        return self.labelled_by_folders or self._table_classes() is not None

    def _table_classes(self) -> tuple[str, ...] | None:
        tables = (place.table(True) for place in self.places if place.kind == 'table')
        names = (table.class_names() for table in tables) if self.with_label else iter(())
        return next((found for found in names if found), None)

    def images(self) -> Iterator[str]:
        """The images, one after the other."""
        if self.list is not None:
            return (text for _, text in listed_lines(self.list))
        if self.places:
            return (path for place in self.places for path in self.images_of(place))
        return walk_images(self.folder, self.extensions)

    def images_of(self, place: Place) -> Iterator[str]:
        if place.kind == 'table':
            # From the header: the rows themselves are read when the data set is built.
            return (f'{place.path}#{row}' for row in range(place.table(self.with_label).rows))
        return (path for path, _ in place.photos(self.extensions, self.with_label, LeftOut()))

    def classes(self) -> list[str]:
        """Names of the class folders, or of a table's classes.

        Raises:
            ValueError: There are none; or hidden ones, which mmpretrain numbers too.
        """
        if (named_by_table := self._table_classes()) is not None:
            return list(named_by_table)
        names = class_folders(self.folder)
        if not names:
            raise InputError(
                f'{self.dataloader}: {str(self.folder)!r} has no class folders, but its dataset is '
                'to give labels. Put the images of each class into a folder of their own, or give '
                'an ann_file with lines `FILE LABEL`. Images without labels serve for pretraining '
                'only (with_label=False)'
            )
        hidden = [p.name for p in self.folder.iterdir() if p.is_dir() and p.name.startswith('.')]
        if hidden and not self.own:
            raise InputError(
                f'{self.dataloader}: {self.config["type"]} takes the hidden folders '
                f'{named(hidden)} of {str(self.folder)!r} for classes, which shifts all labels: '
                f'remove them, or read the folder with type={OWN!r}, which passes them over'
            )
        return names

    def empty_classes(self, names: list[str]) -> list[str]:
        """Class folders without any image."""
        return [
            n for n in names if next(walk_images(self.folder / n, self.extensions), None) is None
        ]


def _places(dataset: Mapping[str, Any]) -> list[Place]:
    """The places of a data set that is more than one folder or list; none of others."""
    root, prefix = dataset.get('data_root') or '', dataset.get('data_prefix') or ''
    if dataset.get('ann_file'):
        return []
    if isinstance(root, str):
        name = prefix.get('img_path', '') if isinstance(prefix, Mapping) else prefix
        path = Path(root, name).expanduser()
        if kind_of(str(path)) == 'folder' and not str(path).endswith(PACKED):
            return []
    columns = {key: dataset.get(key) for key in ('image_column', 'label_column')}
    return places_of(root, prefix, columns)


def photo_folder(dataset: MutableMapping[str, Any], dataloader: str) -> PhotoFolder | None:
    """The photos of a data set on this machine; None for other data sets and remote ones."""
    kind = type_name(dataset['type'])
    paths = [dataset.get(key) or '' for key in ('data_root', 'data_prefix', 'ann_file')]
    paths += paths[0] if isinstance(paths[0], list | tuple) else []
    texts = [value for value in paths if isinstance(value, str)]
    if kind != OWN and kind.split('.')[-1] not in PEERS:
        return None
    if any('://' in text for text in texts):
        return None
    return PhotoFolder(dataset, dataloader)

"""Data set of photos in folders, lists, tars, LMDB files or tables; one numbering of classes."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset

from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError, UserError
from mmbeitv2.registry import DATASETS

from .decoding import reason_of
from .labels import check_labels, named, number_classes, renumbered
from .listing import (
    LeftOut,
    check_repeated,
    class_folders,
    listed_samples,
    photo_path,
    readable_extensions,
    walk_images,
)
from .places import Place, equal_names, kind_of, places_of
from .replacement import UnreadFiles, bearable, draw_replacement

ON_ERROR = ('raise', 'replace')
ATTEMPTS = 100


@DATASETS.register_module()
class Photos(CustomDataset):
    """mmpretrain's ``CustomDataset`` that finds every image and numbers classes as training does.

    - Every format that Pillow decodes is listed, by extension. Hidden files and folders, other
      extensions, links to nothing and pipes are left out; one line of the log counts and names
      them.
    - A label is the place of its class folder among those of ``classes_from``, the training data,
      whichever folders this split has; or among ``classes``. A folder of another name is an error.
    - Lists name files, relative to ``data_prefix``, or the addresses that tars, LMDB files and
      tables give their photos. They may have blank lines, Windows line ends and a byte order mark.
      Labels are checked.
    - Files are read in place, each photo by itself: tars (labels in ``.cls`` members, as WebDataset
      has them), LMDB files, and Parquet files or saved folders of Hugging Face datasets.

    Args:
        data_root: Root of ``data_prefix``, ``ann_file`` and ``classes_from``. Several roots, in a
            list, are read one after the other, as one data set; without a list file, and without
            labels if they are folders.
        data_prefix: Folder of the images, or files of them, see ``places.places_of``.
        ann_file: List with lines ``FILE``, or ``FILE LABEL``, instead of the folder's content.
        with_label: Whether images have labels.
        extensions: Extensions of images; ``listing.readable_extensions`` when None.
        classes_from: Folder of the training data, whose class folders number the labels; None for
            this data set's own, of training itself.
        on_error: ``'raise'`` at an image that cannot be read; or ``'replace'`` it, in unlabelled
            data, by another that is drawn from (seed, epoch, index).
        max_replaced: Largest share of the images that is replaced, in [0, 1]; one file always is.
        image_column: Of a table; None for its only column of image files.
        label_column: Of a table; None for ``label``.
        **kwargs: Of mmpretrain's ``CustomDataset``, such as ``pipeline`` and ``classes``.

    Raises:
        ValueError: A class folder without images or of an unknown name; a list with a faulty label;
            no images.
        OSError: A folder that cannot be read.
    """

    def __init__(
        self,
        data_root: str | Sequence[str] = '',
        data_prefix: str | dict[str, Any] = '',
        ann_file: str = '',
        with_label: bool = True,
        extensions: Sequence[str] | None = None,
        classes_from: str | None = None,
        on_error: str = 'raise',
        max_replaced: float = 0.01,
        image_column: str | None = None,
        label_column: str | None = None,
        **kwargs: Any,
    ) -> None:
        _check_on_error(on_error, max_replaced, with_label)
        self.roots = data_root
        self.columns = dict(image_column=image_column, label_column=label_column)
        if not isinstance(data_root, str | os.PathLike):
            _check_several(data_root, ann_file)
            data_root = data_root[0]
        self.classes_from = None
        if classes_from is not None:
            self.classes_from = Path(data_root, classes_from).expanduser()
        self.on_error = on_error
        self.max_replaced = max_replaced
        self._unread: UnreadFiles | None = None
        self.list_file: Path | None = None
        self.place_prefix = data_prefix
        super().__init__(
            data_root=data_root,
            data_prefix=data_prefix,
            ann_file=ann_file,
            with_label=with_label,
            extensions=readable_extensions() if extensions is None else extensions,
            **kwargs,
        )

    def load_data_list(self) -> list[dict[str, Any]]:
        """Path, and label, of every image."""
        if '://' in self.img_prefix or '://' in self.ann_file:
            return super().load_data_list()
        several = not isinstance(self.roots, str | os.PathLike)
        if not self.ann_file and (several or kind_of(self.img_prefix) != 'folder'):
            return self._of_places()
        samples = self._listed() if self.ann_file else self._found()
        # Not a Path: a million of them take seconds.
        paths = [(photo_path(self.img_prefix, name), label) for name, label in samples]
        if not self.with_label:
            return [{'img_path': path} for path, _ in paths]
        return [{'img_path': path, 'gt_label': label} for path, label in paths]

    def _of_places(self) -> list[dict[str, Any]]:
        places = places_of(self.roots, self.place_prefix, self.columns)
        left_out = LeftOut()
        samples: list[Any] = []
        for place in places:
            before = len(samples)
            found = place.photos(self.extensions, self.with_label, left_out)
            samples += self._numbered_as_here(place, found)
            if len(samples) == before:
                what = left_out if left_out.names else 'it is empty'
                raise InputError(
                    f"'{place.path}' has no image; {what}. Correct data_root and data_prefix of "
                    'the dataset'
                )
        shown = ', '.join(place.path for place in places)
        _log(f'{len(samples)} images in {shown}' + (f'; {left_out}' if left_out.names else ''))
        folders = [place.path for place in places if place.kind == 'folder']
        if line := equal_names(folders, [path for path, _ in samples]):
            _log(line)
        if self.with_label:
            check_labels(samples, shown, None if self.CLASSES is None else len(self.CLASSES))
            return [{'img_path': path, 'gt_label': label} for path, label in samples]
        return [{'img_path': path} for path, _ in samples]

    def _numbered_as_here(
        self, place: Place, samples: Iterable[tuple[str, int | None]]
    ) -> Iterable[tuple[str, int | None]]:
        """Photos of a place whose labels are this data set's, whichever a table has."""
        names = None
        if self.with_label and place.kind == 'table':
            names = place.table(True).class_names()
        if names is None:
            return samples
        if self.CLASSES is None:
            self._metainfo['classes'] = names
        labels: dict[int | None, int | None] = dict(
            enumerate(renumbered(names, list(self.CLASSES), place.path))
        )
        return ((path, labels.get(label, label)) for path, label in samples)

    def _listed(self) -> list[tuple[str, int | None]]:
        classes = self.CLASSES
        num_classes = None if classes is None else len(classes)
        samples = list(listed_samples(self.ann_file, self.with_label, num_classes))
        if repeated := check_repeated(samples, self.ann_file):
            _log(f'{self.ann_file}: {repeated} of {len(samples)} lines repeat an earlier one')
        return samples

    def _found(self) -> list[tuple[str, int | None]]:
        left_out = LeftOut()
        names = list(walk_images(self.img_prefix, self.extensions, left_out))
        if left_out.names:
            _log(f'{len(names)} images in {self.img_prefix}; {left_out}')
        if not names:
            raise InputError(
                f"'{self.img_prefix}' has no image; {left_out if left_out.names else 'it is empty'}"
                '. Set data_root and data_prefix of the dataset to the folder with the images'
            )
        if not self.with_label:
            # CustomDataset's order, by which a seed draws the same photos as with that.
            return [(name, None) for name in sorted(names)]
        return self._labelled(names)

    def _labelled(self, names: Sequence[str]) -> list[tuple[str, int | None]]:
        parted = sorted(name.split(os.sep, 1) for name in names if os.sep in name)
        filled = {folder for folder, _ in parted}
        classes, self.folder_to_idx = number_classes(
            class_folders(self.img_prefix), filled, self.img_prefix, self.CLASSES, self.classes_from
        )
        self._metainfo['classes'] = classes
        if absent := sorted(set(self.folder_to_idx) - filled):
            _log(f'{self.img_prefix} has no image of {len(absent)} classes: {named(absent)}')
        if loose := len(names) - len(parted):
            _log(f'{self.img_prefix}: {loose} images lie in no class folder and are left out')
        return [(os.path.join(folder, name), self.folder_to_idx[folder]) for folder, name in parted]

    def prepare_data(self, idx: int) -> Any:
        """The image of ``idx`` after the pipeline, or what replaces it."""
        if self.on_error == 'raise':
            return super().prepare_data(idx)
        index = idx
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return super().prepare_data(index)
            except (UnreadableFileError, MissingFileError) as error:
                self._note(index, error)
            index = draw_replacement(idx, attempt, len(self))
        raise UnreadableFileError(
            f'{ATTEMPTS} images drawn one after the other cannot be read, the last one is '
            f'{self.get_data_info(index)["img_path"]!r}: check data_root of the dataset'
        )

    def _note(self, index: int, error: UserError) -> None:
        if self._unread is None:
            self._unread = UnreadFiles(bearable(len(self), self.max_replaced), len(self))
        self._unread.list_file = self.list_file
        self._unread.add(self.get_data_info(index)['img_path'], reason_of(error))


def _log(message: str) -> None:
    print_log(message, logger='current')


def _check_several(roots: Sequence[str], ann_file: str) -> None:
    if not roots:
        raise InputError('data_root is an empty list: name at least one folder or file')
    if ann_file:
        raise InputError(
            f'data_root names {len(roots)} places, but the list ann_file={ann_file!r} those of one:'
            ' leave out ann_file, or give the root of all and a list relative to it'
        )


def _check_on_error(on_error: str, max_replaced: float, with_label: bool) -> None:
    if on_error not in ON_ERROR:
        raise InputError(f"on_error is {on_error!r}, but must be 'raise' or 'replace'")
    if on_error == 'replace' and with_label:
        raise InputError(
            "on_error='replace' would change the number of images of a class: it is for unlabelled "
            'data (with_label=False). Remove the files that tools/check_images.py names'
        )
    if not 0 <= max_replaced <= 1:
        raise InputError(f'max_replaced is {max_replaced}, but must be a share in [0, 1]')

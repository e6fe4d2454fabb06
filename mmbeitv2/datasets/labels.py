"""One numbering of the classes: that of training, for every split."""

from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from mmbeitv2.errors import InputError, MissingFileError

from .listing import class_folders

NAMED = 5


def number_classes(
    folders: Sequence[str],
    filled: Collection[str],
    where: str | Path,
    given: Sequence[str] | None = None,
    classes_from: Path | None = None,
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Number the class folders of a split.

    Args:
        folders: Class folders of the split, in order.
        filled: Those that hold an image.
        where: Folder of the split, for messages.
        given: Names of all classes, in the order of their labels.
        classes_from: Folder of the training data; used without ``given``.

    Returns:
        tuple: Names of all classes in order, and the label of every class folder.

    Raises:
        ValueError: No class folders; one that training does not have; a class of training without
            an image.
        FileNotFoundError: The training data are needed and not there.
    """
    if not folders:
        raise InputError(
            f"'{where}' has no class folders, but its dataset is to give labels: put the images of "
            'each class into a folder of their own, or give an ann_file with lines `FILE LABEL`; '
            'images without labels serve for pretraining only (with_label=False)'
        )
    if given is not None:
        if _only_named_otherwise(folders, given):
            return tuple(given), {name: label for label, name in enumerate(folders)}
        return tuple(given), _labels(folders, given, where, 'classes of the dataset')
    if classes_from is not None:
        if not classes_from.is_dir():
            raise MissingFileError(
                f"the training data '{classes_from}', whose class folders number the labels of "
                f"'{where}', are not there: put them there, or name all classes in the order of "
                'their labels (classes=[…] of the dataset)'
            )
        classes = class_folders(classes_from)
        return tuple(classes), _labels(folders, classes, where, f"training, '{classes_from}'")
    if empty := [name for name in folders if name not in filled]:
        raise InputError(
            f"'{where}' has class folders without an image that can be read: {named(empty)}. "
            'Remove them, or restore their images'
        )
    return tuple(folders), {name: label for label, name in enumerate(folders)}


def _only_named_otherwise(folders: Sequence[str], given: Sequence[str]) -> bool:
    """Whether classes have names of their own, in the order of the folders (mmpretrain)."""
    return len(folders) == len(given) and not set(folders) & set(given)


def _labels(
    folders: Sequence[str], classes: Sequence[str], where: str | Path, source: str
) -> dict[str, int]:
    if unknown := [name for name in folders if name not in set(classes)]:
        absent = [name for name in classes if name not in set(folders)]
        raise InputError(
            f"'{where}' has class folders that are no classes of {source}: {named(unknown)}"
            + (f'; those without a folder here: {named(absent)}' if absent else '')
            + '. Rename or remove them: labels are numbered by training'
        )
    return {name: label for label, name in enumerate(classes)}


def check_labels(samples: Iterable[tuple[str, int | None]], where: str, count: int | None) -> None:
    """Refuse labels of tars and tables that are no class.

    Args:
        samples: Paths and labels.
        where: They come from, for the message.
        count: Of all classes; None where it is not known.

    Raises:
        ValueError: The first label outside the classes, or below 0.
    """
    for path, label in samples:
        if label is None or label < 0 or (count is not None and label >= count):
            allowed = 'a whole number from 0' + (f' to {count - 1}' if count else '')
            raise InputError(
                f"{path!r} in '{where}' has the label {label}, but allowed is {allowed}: correct "
                'it, or the number of classes'
            )


def renumbered(names: Sequence[str], classes: Sequence[str], where: str | Path) -> Sequence[int]:
    """Label among all classes of each label of a table that names its own.

    Args:
        names: Of the table's classes, in the order of its labels.
        classes: Names of all classes, in the order of their labels.
        where: The table, for the message.

    Raises:
        ValueError: The table has a class that is none of them.
    """
    if _only_named_otherwise(names, classes):
        return range(len(names))
    if unknown := [name for name in names if name not in set(classes)]:
        raise InputError(
            f"'{where}' has classes that are none of training or of the dataset's classes: "
            f'{named(unknown)}. Rename or remove them: labels are numbered by training'
        )
    return [classes.index(name) for name in names]


def named(names: Collection[str]) -> str:
    """The first names of a list, quoted."""
    listed = [repr(name) for name in sorted(names)]
    return ', '.join(listed[:NAMED]) + (f' and {len(names) - NAMED} more' * (len(names) > NAMED))

"""Which files of a folder are photos, which are left out, and what a list file says."""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from PIL import Image, ImageFile

from mmbeitv2.errors import InputError, UnreadableFileError

# Pillow knows their headers, but needs other programs, or cannot decode them at all.
UNDECODABLE = ('EPS', 'MPEG')
NAMED = 5


@lru_cache(maxsize=1)
def readable_extensions() -> tuple[str, ...]:
    """Lower-case extensions of all formats that this installation's Pillow can decode."""
    Image.init()
    return tuple(
        sorted(
            extension.lower()
            for extension, name in Image.registered_extensions().items()
            if name in Image.OPEN and name not in UNDECODABLE and not _is_stub(name)
        )
    )


def _is_stub(name: str) -> bool:
    """Whether Pillow leaves the decoding of a format to a handler that nobody installed."""
    opener = Image.OPEN[name][0]
    return isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)


@dataclass
class LeftOut:
    """Files of a folder that are no photos: how many of each kind, and the first ones."""

    kinds: Counter[str] = field(default_factory=Counter)
    names: list[str] = field(default_factory=list)

    def add(self, path: str, kind: str) -> None:
        """Count one file."""
        self.kinds[kind] += 1
        if len(self.names) < NAMED:
            self.names.append(path)

    def __str__(self) -> str:
        kinds = ', '.join(f'{count} {kind}' for kind, count in sorted(self.kinds.items()))
        more = ', …' if self.kinds.total() > len(self.names) else ''
        return f'{self.kinds.total()} left out ({kinds}): {", ".join(self.names)}{more}'


def is_text(name: str) -> bool:
    """Whether a file's name is text; of the bytes of another, Python makes what UTF-8 lacks."""
    return not any('\ud800' <= letter <= '\udfff' for letter in name)


def in_one_line(name: str) -> str:
    """A file's name as a table with a file a line may hold it: line breaks and tabs are written."""
    return ''.join(repr(letter)[1:-1] if letter in '\t\r\n' else letter for letter in name)


def photo_path(folder: str | Path, name: str) -> str:
    """Where a photo lies that a list names.

    Args:
        folder: of the list's relative names.
        name: relative to it, absolute, or the address of a photo in a tar, an LMDB file or a table.
    """
    return name if '://' in name else os.path.join(folder, name)


def address_parts(address: str) -> tuple[str, str]:
    """File and name within it of the address of a photo, for the reader and for other files.

    Args:
        address: of a photo in a tar, an LMDB file or a table, where the name begins with the row.
    """
    kind, _, rest = address.partition('://')
    file, _, within = rest.partition('#')
    if kind == 'tar':
        within = within.rpartition('@')[0]
    elif kind == 'arrow':
        # Column, row and name, which may be empty or that of many.
        within = '_'.join(part for part in within.split('#')[1:] if part)
    return file, within


def in_address(name: str) -> str:
    """A name as it may stand in the address of a photo that is found by other parts of it.

    mmengine takes what stands before '://' for the storage, and a list of addresses has lines.
    """
    return ' '.join(name.replace('://', '/').splitlines())


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder on the way to it, begins with a dot, as notebooks' copies do."""
    return any(part.startswith('.') and part not in ('.', '..') for part in name.split('/'))


def class_folders(folder: str | Path) -> list[str]:
    """Names of the folders of a folder, in order; hidden ones are no classes."""
    return sorted(
        entry.name for entry in _scan(folder) if entry.is_dir() and not entry.name.startswith('.')
    )


def walk_images(
    folder: str | Path,
    extensions: Sequence[str],
    left_out: LeftOut | None = None,
    unusual: bool = False,
) -> Iterator[str]:
    """Yield the paths of all images below a folder, relative to it, in order of folder and name.

    Hidden files and folders (of notebooks, of macOS) are left out, since they hold second copies.

    Args:
        folder: Links to folders are followed, but none twice on one way down.
        extensions: In lower case, with their dot.
        left_out: Told of every file that is not yielded.
        unusual: Whether links to nothing, pipes and folders with an image's extension, which are
            likely mistakes, are yielded too.

    Raises:
        OSError: A folder that may not be read.
    """
    left_out = LeftOut() if left_out is None else left_out
    yield from _walk(str(folder), '', (tuple(extensions), unusual), left_out, ())


def _walk(
    root: str,
    below: str,
    rule: tuple[tuple[str, ...], bool],
    left_out: LeftOut,
    above: tuple[str, ...],
) -> Iterator[str]:
    extensions, unusual = rule
    where = os.path.join(root, below)
    real = os.path.realpath(where)
    if real in above:
        left_out.add(below, 'link to a folder above it')
        return
    for entry in sorted(_scan(where), key=lambda entry: entry.name):
        path = os.path.join(below, entry.name)
        if entry.name.startswith('.'):
            left_out.add(path, 'hidden')
        elif entry.is_dir():
            if unusual and entry.name.lower().endswith(extensions):
                yield path
            yield from _walk(root, path, rule, left_out, (*above, real))
        elif not entry.name.lower().endswith(extensions):
            left_out.add(path, 'of another extension')
        elif unusual or entry.is_file():
            yield path
        else:
            left_out.add(path, 'link to nothing' if entry.is_symlink() else 'pipe or device')


def _scan(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except OSError as error:
        raise UnreadableFileError(
            f"the folder '{folder}' cannot be read: {error.strerror}. Correct its permissions, or "
            'set data_root and data_prefix of the dataset to another'
        ) from error


def listed_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    """Number and text of every line of a list file that is not blank.

    Windows line ends and the byte order mark that its editors write are dropped.

    Raises:
        ValueError: No line, or bytes that are no UTF-8 text.
        OSError: The file cannot be read.
    """
    found = False
    try:
        if not os.path.isfile(path) and os.path.exists(path):
            raise OSError(0, 'it is no ordinary file')
        with open(path, encoding='utf-8-sig') as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    found = True
                    yield number, text
    except UnicodeDecodeError as error:
        raise InputError(
            f"the list '{path}' is no UTF-8 text ({error.reason} at byte {error.start}): save it "
            'as UTF-8, or give the file with one image a line as ann_file'
        ) from error
    except OSError as error:
        raise UnreadableFileError(
            f"the list '{path}' cannot be read: {error.strerror}. ann_file of the dataset names it"
        ) from error
    if not found:
        raise InputError(
            f"the list '{path}' names no image: write one a line, relative to data_prefix, or "
            'leave ann_file out, so that the folder is read'
        )


def listed_samples(
    path: str | Path, with_label: bool, num_classes: int | None = None
) -> Iterator[tuple[str, int | None]]:
    """Yield the files of a list, and their labels, None without.

    Args:
        path: Of the list, whose lines are ``FILE`` or ``FILE LABEL``; blank ones are passed over.
        with_label: Whether lines end with a label.
        num_classes: Labels are below it; None where it is not known.

    Raises:
        ValueError: A label that is missing, no integer or outside the classes; see
            ``listed_lines``.
    """
    for number, text in listed_lines(path):
        if with_label:
            yield _split_label(text, f"line {number} of the list '{path}'", num_classes)
        else:
            yield text, None


def check_repeated(samples: Sequence[tuple[str, int | None]], path: str | Path) -> int:
    """Count the samples of a list that repeat an earlier one.

    Raises:
        ValueError: A file with two labels.
    """
    labels: dict[str, int | None] = {}
    for name, label in samples:
        if labels.setdefault(name, label) != label:
            raise InputError(
                f"the list '{path}' gives {name!r} the label {labels[name]} and the label {label}: "
                'keep one of the two lines'
            )
    return len(samples) - len(labels)


def _split_label(text: str, where: str, num_classes: int | None) -> tuple[str, int]:
    name, _, last = text.replace('\t', ' ').rpartition(' ')
    allowed = 'an integer from 0' + (f' to {num_classes - 1}' if num_classes else '')
    cure = f'write `FILE LABEL` with {allowed}, or set with_label=False for images without labels'
    if not name.strip():
        raise InputError(f'{where}, {text!r}, has no label: {cure}')
    # int() would also take ' 1_0' and other alphabets' digits.
    if not last.removeprefix('-').isascii() or not last.removeprefix('-').isdigit():
        raise InputError(f'{where} has the label {last!r}: {cure}')
    label = int(last)
    if label < 0 or (num_classes is not None and label >= num_classes):
        raise InputError(
            f'{where} has the label {label}, but allowed is {allowed}: correct the label or the '
            'number of classes (model.head.num_classes, data_preprocessor.num_classes)'
        )
    return name.strip(), label

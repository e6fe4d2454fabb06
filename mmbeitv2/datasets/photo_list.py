"""Which photos a user means by a folder, a list file or a photo's name, checked before any work."""

from pathlib import Path
from typing import NamedTuple

from mmbeitv2.errors import InputError, MissingFileError

from .listing import LeftOut, listed_samples, readable_extensions, walk_images


class PhotoList(NamedTuple):
    """Photos by name.

    Attributes:
        folder: what names are relative to.
        names: of the files, in order; ``folder / name`` is where one lies.
        left_out: files of the folder that are no photos, in a line; empty where there are none.
    """

    folder: Path
    names: list[str]
    left_out: str = ''

    @property
    def paths(self) -> list[Path]:
        """Where the photos lie."""
        return [self.folder / name for name in self.names]


def list_photos(source: str | Path) -> PhotoList:
    """Photos of a folder at any depth, of a list file, or a single one.

    Args:
        source: a folder, whose files with an image's extension are photos, as for the data sets; a
            file with such an extension; or a text file that names a photo a line, relative to its
            own folder.

    Raises:
        FileNotFoundError: no such folder or file, or a photo of the list that is not there.
        ValueError: no photo.
        OSError: the folder or the list cannot be read.
    """
    source = Path(source)
    if source.is_dir():
        return _of_folder(source)
    if not source.exists():
        raise MissingFileError(
            f'no photos at {source}: give a folder, a photo, or a text file with a photo a line'
        )
    if source.suffix.lower() in readable_extensions():
        return PhotoList(source.parent, [source.name])
    return _of_list(source)


def _of_folder(folder: Path) -> PhotoList:
    left_out = LeftOut()
    names = sorted(walk_images(folder, readable_extensions(), left_out))
    said = str(left_out) if left_out.names else ''
    if not names:
        raise InputError(
            f"'{folder}' has no photo; {said or 'it is empty'}: give a folder with files that "
            'Pillow reads, such as .jpg or .png'
        )
    return PhotoList(folder, names, said)


def _of_list(path: Path) -> PhotoList:
    names = [name for name, _ in listed_samples(path, with_label=False)]
    missing = [name for name in names if not (path.parent / name).exists()]
    if missing:
        raise MissingFileError(
            f'{len(missing)} of the {len(names)} photos that {path} names are not there, the first '
            f'is {missing[0]!r}: lines are paths relative to {path.parent.resolve()}'
        )
    return PhotoList(path.parent, names)

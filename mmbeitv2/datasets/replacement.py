"""What takes the place of a photo that cannot be read, where the config allows it."""

import hashlib
from pathlib import Path

from mmbeitv2.datasets.listing import in_one_line
from mmbeitv2.errors import InputError, UnreadableFileError

from .sampling import SampleIndex


def draw_replacement(sample: int, attempt: int, images: int) -> SampleIndex:
    """Draw another image, which depends on seed, epoch, index and attempt alone.

    So a resumed run, and one with other workers, replaces a file by the same photo.

    Args:
        sample: What the sampler asked for.
        attempt: Counted from 1: the one drawn before may be damaged too.
        images: Of the data set.

    Raises:
        ValueError: The index does not say which seed and epoch it is drawn for.
    """
    if not isinstance(sample, SampleIndex):
        raise InputError(
            "on_error='replace' draws another image from (seed, epoch, index), which the sampler "
            "does not give: set sampler=dict(type='mmbeitv2.EpochSampler') in the dataloader"
        )
    key = f'replacement/{sample.seed}/{sample.epoch}/{int(sample)}/{attempt}'.encode()
    digest = hashlib.blake2b(key, digest_size=8).digest()
    return SampleIndex(int.from_bytes(digest, 'little') % images, sample.seed, sample.epoch)


def bearable(images: int, share: float) -> int:
    """How many unreadable images of a data set are borne: a share of them, and one always.

    Args:
        images: Of the data set.
        share: In [0, 1].
    """
    return max(1, int(share * images))


class UnreadFiles:
    """The files of a data set that could not be read, which all processes of a run share.

    Args:
        limit: Largest number of them that a run bears.
        images: Of the data set, for the message.
    """

    def __init__(self, limit: int, images: int) -> None:
        self.limit = limit
        self.images = images
        self.list_file: Path | None = None
        self._known: set[str] = set()

    def add(self, path: str, reason: str) -> None:
        """Note a file, unless it is noted.

        Raises:
            OSError: Too many files cannot be read.
        """
        name = in_one_line(path)
        if name in self._known:
            return
        self._known.add(name)
        if self.list_file is not None:
            # Workers and ranks write into one file: a short line that is appended stays whole.
            with open(self.list_file, 'a', encoding='utf-8', errors='surrogateescape') as file:
                file.write(f'{name}\t{reason}\n')
            self._known |= noted_files(self.list_file)
        if len(self._known) > self.limit:
            raise UnreadableFileError(
                f"{len(self._known)} of {self.images} images cannot be read, but on_error='replace'"
                f' bears {self.limit} (max_replaced of the dataset); the last one is {path!r}. '
                f'Restore or remove those listed in {self.list_file or "the log"}, for instance '
                'with `python tools/check_images.py FOLDER`, or raise max_replaced'
            )


def noted_files(list_file: Path) -> set[str]:
    """Files that are listed as unreadable; none where there is no list."""
    if not list_file.is_file():
        return set()
    lines = list_file.read_text(encoding='utf-8', errors='surrogateescape').split('\n')
    return {line.split('\t')[0] for line in lines if line}

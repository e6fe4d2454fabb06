"""SHA-256 of whole files, computed once for as long as a file is not touched."""

import hashlib
import json
import os
from pathlib import Path

import torch

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.errors import UserError

FOLDER = '.hashes'
BLOCK = 2**20


def sha256(path: str | Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


class HashMemory:
    """The SHA-256 of one file as it was when it was last found whole, if it is that file still.

    It is told by size, time of change and place on the disk. So a file that is written anew,
    changed or replaced is read again; a bit that turns on the disk by itself changes none of them.

    Args:
        path: the file. It is looked at here: what is remembered later is of this moment.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).absolute()
        self._seen = self._look()
        name = hashlib.sha256(str(self._path).encode()).hexdigest()[:32]
        self._record = Path(torch.hub.get_dir(), 'checkpoints', FOLDER, f'{name}.json')

    def recall(self) -> str | None:
        """SHA-256, 64 hex digits; None where the file has to be read."""
        try:
            noted = json.loads(self._record.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(noted, dict) or noted.get('file') != self._seen:
            return None
        digest = noted.get('sha256')
        return digest if isinstance(digest, str) else None

    def keep(self, digest: str) -> None:
        """Remember the SHA-256 of a file that was found whole, unless it has changed meanwhile."""
        if self._look() != self._seen:
            return
        noted = dict(path=str(self._path), file=self._seen, sha256=digest)
        try:
            write_atomically(self._record, (json.dumps(noted) + '\n').encode())
        except UserError:
            # Somebody else's folder: then it is read every time.
            return

    def _look(self) -> list[int]:
        found = os.stat(self._path)
        # Of the last two, programs that copy the time of change cannot choose either.
        return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]

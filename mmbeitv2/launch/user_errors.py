"""How the command-line tools end at what the user can mend: one line, exit code 2."""

import errno
import hashlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import MMLogger

from mmbeitv2.errors import UserError

EXIT_CODE = 2
# Of writes, wherever in a run they were: full, over the quota, read-only.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# A folder that tools/torchrun.py gives the processes of a machine: what one has said lies there.
SAID_VARIABLE = 'MMBEITV2_SAID'


@contextmanager
def one_line_errors(interrupted: str = 'interrupted') -> Iterator[None]:
    """End the process at a ``UserError`` with its message alone, as argparse does.

    A traceback would bury what the user can change. It goes into the run's log file where there is
    one. Of the processes of a run that end at the same error the first alone prints it. All other
    errors pass: they are bugs, or a library's.

    Args:
        interrupted: what Ctrl-C prints, for tools that go on where they were stopped.

    Raises:
        SystemExit: with code 2, instead of the error or of one of a full or read-only disk; 130
            upon Ctrl-C.
    """
    try:
        yield
    except UserError as error:
        _write_to_log_files(error)
        _say(f'error: {message_of(error)}')
        raise SystemExit(EXIT_CODE) from error
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        _write_to_log_files(error)
        _say(f'error: cannot write {error.filename or "to the disk"}: {error.strerror}')
        raise SystemExit(EXIT_CODE) from error
    except KeyboardInterrupt:
        print(f'\n{interrupted}', file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None


def message_of(error: UserError) -> str:
    """The message as it was written, also of an error that a data loader's worker raised.

    PyTorch raises that one again in the main process, its message the worker's whole traceback.

    Args:
        error: as it was caught.
    """
    text = str(error)
    if not text.startswith('Caught '):
        return text
    kind = type(error)
    return text.rpartition(f'{kind.__module__}.{kind.__qualname__}: ')[2].strip()


def _say(message: str) -> None:
    folder = os.environ.get(SAID_VARIABLE)
    if folder is not None and Path(folder).is_dir():
        try:
            Path(folder, hashlib.sha256(message.encode()).hexdigest()).touch(exist_ok=False)
        except FileExistsError:
            return
    print(message, file=sys.stderr)


def _write_to_log_files(error: Exception) -> None:
    logger = MMLogger.get_current_instance()
    info = (type(error), error, error.__traceback__)
    record = logger.makeRecord(
        logger.name, logging.ERROR, __file__, 0, 'the run ended at this error', (), info
    )
    for handler in logger.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)

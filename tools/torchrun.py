"""torchrun that ends as its processes do: with their exit code, and without a traceback for it.

    python tools/torchrun.py [arguments of torchrun]

SIGUSR1, which schedulers send ahead of a time limit, is passed on like SIGTERM.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

# Of mmbeitv2.engine.stop_hook, mmbeitv2.launch.user_errors and mmbeitv2.errors, which take seconds
# to import.
NOTE_VARIABLE = 'MMBEITV2_STOPPED_NOTE'
SAID_VARIABLE = 'MMBEITV2_SAID'
STOPPED_EXIT_CODE, USER_ERROR = 75, 2


def main(argv: Sequence[str] | None = None) -> None:
    """Run the processes.

    Raises:
        SystemExit: 75 if they were stopped and have saved; 2 if the user can mend it; 128 and the
            signal's number if they were ended by one without a checkpoint.
        ChildFailedError: they failed otherwise.
    """
    if hasattr(signal, 'SIGUSR1'):
        signal.signal(signal.SIGUSR1, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    with tempfile.TemporaryDirectory() as folder:
        note = Path(folder, 'stopped')
        os.environ[NOTE_VARIABLE] = str(note)
        os.environ[SAID_VARIABLE] = folder
        # Torch ends processes that are still saving after 30 s.
        os.environ.setdefault('TORCH_ELASTIC_SHUTDOWN_TIMEOUT', '120')
        try:
            run.main(argv)
        except SignalException as error:
            code = STOPPED_EXIT_CODE if note.exists() else 128 + error.sigval.value
            raise SystemExit(code) from None
        except ChildFailedError as error:
            code = STOPPED_EXIT_CODE if note.exists() else error.get_first_failure()[1].exitcode
            if code not in (STOPPED_EXIT_CODE, USER_ERROR):
                raise
            raise SystemExit(code) from None


if __name__ == '__main__':
    main(sys.argv[1:])

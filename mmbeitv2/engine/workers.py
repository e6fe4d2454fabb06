"""The processes that read photos for a data loader, at the end of a run."""

import multiprocessing
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

SECONDS = 5


def end_workers() -> None:
    """End the loaders' workers that are left, and wait until they have ended.

    Python would end them itself, but last of all. Before that PyTorch waits for each worker that
    persists and whose batches go into pinned memory, five seconds, and nothing has told it to end:
    on a GPU machine with ten workers that takes longer than a launcher waits before it kills.
    """
    # The others are not a loader's, and Python waits for them.
    workers = [process for process in multiprocessing.active_children() if process.daemon]
    with _no_alarm_at_their_end():
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join(timeout=SECONDS)


@contextmanager
def _no_alarm_at_their_end() -> Iterator[None]:
    """PyTorch raises at the end of a worker that has not come to install its own handler yet."""
    # Elsewhere no signal is handled, and none may be set.
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, 'SIGCHLD'):
        yield
        return
    alarm = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        yield
    finally:
        # None is a handler that was not set from Python, which cannot be set again from here.
        signal.signal(signal.SIGCHLD, signal.SIG_DFL if alarm is None else alarm)

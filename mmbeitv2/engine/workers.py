"""The processes that read photos for a data loader, at the end of a run."""

import multiprocessing


def end_workers() -> None:
    """End the loaders' workers that are left.

    Python would end them itself, but last of all. Before that PyTorch waits for each worker that
    persists and whose batches go into pinned memory, five seconds, and nothing has told it to end:
    on a GPU machine with ten workers that takes longer than a launcher waits before it kills.
    """
    for process in multiprocessing.active_children():
        # The others are not a loader's, and Python waits for them.
        if process.daemon:
            process.terminate()

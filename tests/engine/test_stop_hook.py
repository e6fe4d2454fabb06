"""What the workers of a run's data loader do at a signal."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader, Dataset

from mmbeitv2.engine.stop_hook import _let_workers_outlive
from mmbeitv2.engine.workers import end_workers

needs_origin = pytest.mark.skipif(
    not hasattr(signal, 'sigwaitinfo'), reason='who has sent a signal'
)


class Numbers(Dataset):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> int:
        return index


@needs_origin
def test_a_worker_that_its_reader_ends_has_not_crashed():
    loader = DataLoader(
        Numbers(), num_workers=1, persistent_workers=True, multiprocessing_context='fork'
    )
    _let_workers_outlive(SimpleNamespace(train_dataloader=loader))
    batches = iter(loader)
    next(batches)
    (worker,) = batches._workers
    # As Python does when it ends; another code than 0 would raise here, as a crash does.
    worker.terminate()
    worker.join()
    assert worker.exitcode == 0


def test_a_worker_that_has_hardly_started_ends_without_an_alarm():
    # Spawned, it imports PyTorch for seconds before it knows any signal.
    loader = DataLoader(
        Numbers(), num_workers=2, persistent_workers=True, multiprocessing_context='spawn'
    )
    batches = iter(loader)
    handler = signal.getsignal(signal.SIGCHLD)
    end_workers()
    assert [worker.exitcode for worker in batches._workers] == [-signal.SIGTERM] * 2
    # PyTorch looks after its workers at the end of any process, and later ones are looked after.
    subprocess.run([sys.executable, '-c', ''], check=True)
    assert signal.getsignal(signal.SIGCHLD) is handler

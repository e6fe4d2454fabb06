"""Processes that want one file at once: one brings it, none takes a part of it, none hangs."""

import contextlib
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from file_server import file_server
from filelock import FileLock

from mmbeitv2.checkpoints import turns
from mmbeitv2.checkpoints.downloads import download
from mmbeitv2.checkpoints.published_files import MIRROR

SCRIPT = Path(__file__).with_name('asking_process.py')
MOST_SECONDS = 240


@pytest.fixture
def server():
    with file_server() as running:
        yield running


@pytest.fixture
def weights(tmp_path):
    torch.save({'a': torch.zeros(2**20)}, tmp_path / 'w.pth')
    return (tmp_path / 'w.pth').read_bytes()


@pytest.fixture
def start(server, weights, tmp_path, monkeypatch):
    """Start ranks that want the published weights ``small``; killed at the end."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.delenv(MIRROR, raising=False)
    file = f'w-{hashlib.sha256(weights).hexdigest()[:8]}.pth'
    row = dict(name='small', kind='backbone', what='', publisher='', licence='MIT', config='')
    row.update(addresses=[f'{server.address}/{file}'], published='')
    (tmp_path / 'table.json').write_text(json.dumps([row]))
    running = []

    def begin(count):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        common = [str(count), str(port), str(tmp_path / 'table.json')]
        processes = [
            subprocess.Popen(
                [sys.executable, SCRIPT, 'small', str(rank), *common],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for rank in range(count)
        ]
        running.extend(processes)
        return processes

    yield begin, f'/{file}', tmp_path / 'torch/hub/checkpoints' / file
    for process in running:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def answers(processes):
    found = []
    for process in processes:
        output, errors = process.communicate(timeout=MOST_SECONDS)
        assert process.returncode == 0, errors[-3000:]
        found.append(json.loads(output.splitlines()[-1]))
    return found


def wait_for(condition):
    end = time.monotonic() + MOST_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_three_ranks_download_once(start, server, weights):
    begin, path, place = start
    # Half of it, then nothing for two seconds: the others ask meanwhile.
    server.put(path, weights, sent=len(weights) // 2, rest_after=2.0)
    found = answers(begin(3))
    assert found == [[str(place), hashlib.sha256(weights).hexdigest()]] * 3
    assert server.asked == [path]
    assert not list(place.parent.glob('.*.partial'))


def test_an_address_is_downloaded_once_too(server, weights, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    server.put('/w.pth', weights, sent=len(weights) // 2, rest_after=1.0)
    with ThreadPoolExecutor(3) as pool:
        paths = list(pool.map(download, [f'{server.address}/w.pth'] * 3))
    assert server.asked == ['/w.pth']
    assert len(set(paths)) == 1
    assert paths[0].read_bytes() == weights


def test_a_kill_in_the_middle_leaves_nothing_that_is_taken_for_whole(start, server, weights):
    begin, path, place = start
    silence = threading.Event()
    server.put(path, weights, sent=len(weights) // 2, silence=silence)
    (first,) = begin(1)
    wait_for(lambda: any(p.stat().st_size for p in place.parent.glob(f'.{place.name}.*.partial')))
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    silence.set()
    assert not place.exists()
    assert place.with_name(f'.{place.name}.lock').exists()
    server.put(path, weights)
    (found,) = answers(begin(1))
    assert found == [str(place), hashlib.sha256(weights).hexdigest()]


def test_a_lock_whose_owner_does_nothing_is_passed_over(server, weights, tmp_path, monkeypatch):
    """As a killed process leaves it on a file system without locks."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setattr(turns, 'SECONDS_BETWEEN_LOOKS', 0.05)
    monkeypatch.setattr(turns, 'MOST_SECONDS_WITHOUT_PROGRESS', 0.2)
    server.put('/w.pth', weights)
    address = f'{server.address}/w.pth'
    path = download(address)
    path.unlink()
    held = FileLock(path.with_name(f'.{path.name}.lock'))
    with held:
        assert download(address) == path
    assert path.read_bytes() == weights

"""A file is read for its hash once, and again as soon as it could be another."""

import hashlib
import os
from pathlib import Path

import pytest
import torch
from file_server import file_server

from mmbeitv2.checkpoints import hashes
from mmbeitv2.checkpoints.catalogue import Published
from mmbeitv2.checkpoints.downloads import download
from mmbeitv2.checkpoints.published_files import MIRROR, file_of
from mmbeitv2.errors import InputError


@pytest.fixture
def bytes_read(monkeypatch):
    """Bytes that this process has asked the system to read from files, since the last call."""

    def count():
        words = Path('/proc/self/io').read_text().split()
        return int(words[words.index('rchar:') + 1])

    last = [count()]

    def since():
        now = count()
        found, last[0] = now - last[0], now
        return found

    return since


@pytest.fixture
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.delenv(MIRROR, raising=False)
    (tmp_path / 'torch/hub/checkpoints').mkdir(parents=True)
    return tmp_path / 'torch/hub/checkpoints'


@pytest.fixture
def entry(kept):
    """Published weights of 4 MB that lie here."""
    torch.save({'a': torch.rand(2**20, generator=torch.Generator().manual_seed(0))}, kept / 'w.pth')
    digits = hashes.sha256(kept / 'w.pth')[:8]
    (kept / 'w.pth').rename(kept / f'w-{digits}.pth')
    return Published('w', 'backbone', '', '', '', (), f'w-{digits}.pth', '', '')


SIZE = 4 * 2**20


def test_published_weights_are_hashed_once(entry, bytes_read):
    file_of(entry)
    assert bytes_read() > SIZE
    for _ in range(3):
        file_of(entry)
    assert bytes_read() < SIZE / 10


def test_downloads_are_hashed_once(kept, bytes_read):
    content = os.urandom(SIZE)
    digest = hashlib.sha256(content).hexdigest()
    with file_server() as server:
        server.put('/w.bin', content)
        address = f'{server.address}/w.bin#sha256={digest}'
        path = download(address)
        bytes_read()
        assert download(address) == path
    assert bytes_read() < SIZE / 10


@pytest.mark.parametrize('how', ['in place', 'in place, times as before', 'replaced', 'shorter'])
def test_a_changed_file_is_found(how, entry, kept, bytes_read):
    path = kept / entry.file
    file_of(entry)
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if how == 'replaced':
        (kept / 'other').write_bytes(content)
        (kept / 'other').replace(path)
    elif how == 'shorter':
        path.write_bytes(content[:-1])
    else:
        with open(path, 'rb+') as file:
            file.write(content)
    if how == 'in place, times as before':
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    bytes_read()
    with pytest.raises(InputError, match=f'is not the published {entry.name}'):
        file_of(entry)
    assert bytes_read() > SIZE / 2


def test_a_wrong_file_is_not_remembered(entry, kept):
    (kept / entry.file).write_bytes(b'other')
    for _ in range(2):
        with pytest.raises(InputError, match='is not the published'):
            file_of(entry)


@pytest.mark.parametrize('content', [b'', b'{', b'[]', b'{"file": 3}'])
def test_a_spoiled_record_is_no_record(content, entry, kept, bytes_read):
    file_of(entry)
    (record,) = (kept / hashes.FOLDER).iterdir()
    record.write_bytes(content)
    bytes_read()
    file_of(entry)
    assert bytes_read() > SIZE

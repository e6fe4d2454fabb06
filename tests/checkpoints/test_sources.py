"""Files come from paths, folders, packages and URLs; what was downloaded is checked."""

import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from mmbeitv2.checkpoints.downloads import download
from mmbeitv2.checkpoints.hashes import sha256
from mmbeitv2.checkpoints.reading import read_state_dict
from mmbeitv2.checkpoints.sources import is_missing, local_file
from mmbeitv2.errors import MissingFileError

CONTENT = b'weights'
HASH = hashlib.sha256(CONTENT).hexdigest()


class CountingHandler(SimpleHTTPRequestHandler):
    """Serves a folder and remembers the paths asked for."""

    requested: list[str] = []

    def do_GET(self):
        self.requested.append(self.path)
        super().do_GET()

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Address of a server on this machine, the folder it serves, and what it was asked for."""
    folder = tmp_path / 'served'
    folder.mkdir()
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setattr(CountingHandler, 'requested', [])
    handler = partial(CountingHandler, directory=str(folder))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f'http://127.0.0.1:{running.server_port}', folder, CountingHandler.requested
        running.shutdown()
        thread.join()


def test_url_is_downloaded_once(server):
    address, folder, requested = server
    (folder / 'model.pth').write_bytes(CONTENT)
    url = f'{address}/model.pth#sha256={HASH}'
    path = download(url)
    assert path.read_bytes() == CONTENT
    assert download(url) == path
    assert requested == ['/model.pth']


def test_url_loads_as_a_checkpoint(server):
    address, folder, _ = server
    torch.save({'model': {'a': torch.ones(2)}}, folder / 'model.pth')
    assert torch.equal(read_state_dict(f'{address}/model.pth')['a'], torch.ones(2))


@pytest.mark.parametrize('name', ['model.pth', f'model-{"0" * 8}.pth'])
def test_other_file_than_the_hash_asks_for_is_not_kept(server, name):
    address, folder, _ = server
    (folder / name).write_bytes(CONTENT)
    fragment = '' if '-' in name else f'#sha256={"0" * 64}'
    with pytest.raises(ValueError, match=r'not the file that was asked for.*not kept'):
        download(f'{address}/{name}{fragment}')
    assert not list((folder.parent / 'torch').rglob('model*'))


def test_hash_in_the_name_is_enough(server):
    address, folder, _ = server
    (folder / f'model-{HASH[:8]}.pth').write_bytes(CONTENT)
    assert download(f'{address}/model-{HASH[:8]}.pth').read_bytes() == CONTENT


def test_changed_file_in_the_cache_is_refused(server):
    address, folder, _ = server
    (folder / 'model.pth').write_bytes(CONTENT)
    url = f'{address}/model.pth#sha256={HASH}'
    download(url).write_bytes(b'other')
    with pytest.raises(ValueError, match=f'damaged: it has the SHA-256 .* {HASH}.*deleted'):
        download(url)
    assert download(url).read_bytes() == CONTENT


def test_missing_address_names_the_place_for_the_file(server, tmp_path):
    address, _, _ = server
    with pytest.raises(FileNotFoundError, match=r'none\.pth could not be downloaded \(.*404.*put'):
        download(f'{address}/none.pth')


def test_malformed_hash_is_refused():
    with pytest.raises(ValueError, match='allowed is #sha256=<64 hex digits>'):
        download('https://example.org/model.pth#md5=00')


def test_folder_of_transformers(tmp_path):
    (tmp_path / 'model.safetensors').touch()
    with local_file(tmp_path) as path:
        assert path == tmp_path / 'model.safetensors'
    (tmp_path / 'model.safetensors').unlink()
    with pytest.raises(
        FileNotFoundError, match=r'neither model\.safetensors nor pytorch_model\.bin'
    ):
        local_file(tmp_path).__enter__()


@pytest.mark.parametrize('name', ['last_checkpoint', '.'])
def test_run_is_read_from_the_checkpoint_it_has_written_last(tmp_path, name):
    (tmp_path / 'epoch_5.pth').touch()
    # As written on another machine, whose folder was another.
    (tmp_path / 'last_checkpoint').write_text('/elsewhere/run/epoch_5.pth')
    with local_file(tmp_path / name) as path:
        assert path == tmp_path / 'epoch_5.pth'
    assert not is_missing(str(tmp_path / name))


def test_run_whose_last_checkpoint_is_gone_says_so_in_one_line(tmp_path):
    pointer = tmp_path / 'last_checkpoint'
    pointer.write_text('epoch_5.pth')
    assert is_missing(str(pointer))
    with pytest.raises(MissingFileError, match=r'epoch_5\.pth, which .*last_checkpoint names'):
        local_file(pointer).__enter__()
    for content, matter in (('', 'is empty'), ('a poem', 'names no checkpoint')):
        pointer.write_text(content)
        with pytest.raises(MissingFileError, match=f'last_checkpoint {matter}: name a') as error:
            local_file(tmp_path).__enter__()
        assert '\n' not in str(error.value)


@pytest.mark.parametrize('source', ['s3://bucket/a.pth', 'torchvision://resnet50', 'ftp://x/a.pth'])
def test_addresses_that_nothing_here_reads_are_called_so(source):
    message = r'nor an address that begins with .*: copy it here first'
    with pytest.raises(ValueError, match=message):
        read_state_dict(source)


def test_package_file():
    with local_file('package://mmbeitv2/version.py') as path:
        assert '__version__' in path.read_text()


@pytest.mark.parametrize(
    ('source', 'missing'),
    [
        ('nowhere.pth', True),
        ('package://mmbeitv2/none.pth', True),
        ('package://mmbeitv2/version.py', False),
        ('https://example.org/model.pth', False),
        ('s3://bucket/model.pth', False),
    ],
)
def test_what_is_surely_missing(source, missing):
    assert is_missing(source) is missing


def test_sha256_of_a_file(tmp_path):
    (tmp_path / 'file').write_bytes(CONTENT)
    assert sha256(tmp_path / 'file') == HASH

"""What is downloaded is the file asked for, whole, in its own place; or nothing is kept."""

import hashlib
import io
import os
import stat
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from mmbeitv2.apis import load_tokenizer
from mmbeitv2.checkpoints import downloads
from mmbeitv2.checkpoints.downloads import download
from mmbeitv2.checkpoints.reading import read_state_dict
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError


def file_of(number: float) -> bytes:
    buffer = io.BytesIO()
    torch.save({'a': torch.full((99,), number)}, buffer)
    return buffer.getvalue()


class Answers(BaseHTTPRequestHandler):
    """Answers every path with the content, headers and manner that ``known`` has for it."""

    known: dict[str, dict] = {}
    asked: list[str] = []

    def do_GET(self):
        self.asked.append(self.path)
        answer = self.known[self.path]
        content = answer['content']
        self.send_response(answer.get('status', 200))
        self.send_header('Content-Type', answer.get('type', 'application/octet-stream'))
        if answer.get('length', True):
            self.send_header('Content-Length', str(len(content)))
        self.end_headers()
        self.wfile.write(content[: answer.get('sent')])
        self.wfile.flush()
        if 'silence' in answer:
            answer['silence'].wait(20)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A function that lets a server on this machine answer a path, and returns its address."""
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    monkeypatch.setattr(Answers, 'known', {})
    monkeypatch.setattr(Answers, 'asked', [])
    with ThreadingHTTPServer(('127.0.0.1', 0), Answers) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()

        def answer(path, content=b'', **options):
            Answers.known[path] = dict(content=content, **options)
            return f'http://127.0.0.1:{running.server_port}{path}'

        yield answer
        running.shutdown()
        thread.join()


@pytest.fixture
def kept(tmp_path):
    """All files below the test's folder; locks are empty and stay."""
    return lambda: sorted(
        path for path in tmp_path.rglob('*') if path.is_file() and path.suffix != '.lock'
    )


@pytest.mark.parametrize(
    'path',
    [
        '/%2Felsewhere%2Fx.pth',
        '/..%2F..%2Fx.pth',
        '/a/..',
        '/%2e%2e',
        '/.',
        '/',
        '',
        '/..%5C..%5Cx.pth',
        '/C%3Ax.pth',
        '/x%00.pth',
        '/x%0A.pth',
        f'/{"x" * 300}.pth',
    ],
)
def test_names_that_leave_the_folder_are_refused(path, server, kept):
    address = server(path, file_of(1))
    with pytest.raises(InputError, match='allowed is the name of a file') as error:
        read_state_dict(address)
    assert '\n' not in str(error.value)
    assert kept() == []
    assert Answers.asked == []


def test_each_address_has_its_own_file(server):
    first = server('/one/a.pth', file_of(1))
    second = server('/two/a.pth', file_of(2))
    third = server('/two/a.pth?version=3', file_of(3))
    for _ in range(2):
        for number, address in enumerate((first, second, third), start=1):
            assert read_state_dict(address)['a'][0] == number
    assert len(Answers.asked) == 3


def test_a_new_hash_is_another_file(server):
    old, new = file_of(1), file_of(2)
    address = server('/a.pth', old)
    assert read_state_dict(f'{address}#sha256={hashlib.sha256(old).hexdigest()}')['a'][0] == 1
    server('/a.pth', new)
    assert read_state_dict(f'{address}#sha256={hashlib.sha256(new).hexdigest()}')['a'][0] == 2


def test_file_of_torch_hub_is_used_if_it_has_the_hash(server, tmp_path):
    content = file_of(1)
    folder = tmp_path / 'torch/hub/checkpoints'
    folder.mkdir(parents=True)
    (folder / 'a.pth').write_bytes(content)
    address = server('/a.pth', file_of(2))
    assert download(f'{address}#sha256={hashlib.sha256(content).hexdigest()}') == folder / 'a.pth'
    assert Answers.asked == []
    assert read_state_dict(address)['a'][0] == 2


REFUSED = {
    'web page': (dict(content=b'<html>log in</html>', type='text/html'), 'is a web page'),
    'web page by type': (dict(content=file_of(1), type='text/html'), 'is a web page'),
    'web page by content': (dict(content=b'<!DOCTYPE html>'), 'is a web page'),
    'LFS pointer': (dict(content=b'version https://git-lfs.github.com/spec/v1\n'), 'Git-LFS'),
    'text': (dict(content=b'not found', type='text/plain'), "text file that begins with 'not f"),
    'cut short': (dict(content=file_of(1), sent=500), r'has 500 of \d+ bytes'),
    'cut short, length unknown': (
        dict(content=file_of(1)[:500], length=False),
        'is truncated or damaged',
    ),
    'empty': (dict(content=b''), 'is empty'),
}


@pytest.mark.parametrize('name', REFUSED)
def test_wrong_files_are_called_so_and_not_kept(name, server, kept):
    answer, message = REFUSED[name]
    address = server('/a.pth', **answer)
    with pytest.raises(InputError, match=rf'a\.pth is not the file .* {message}') as error:
        load_tokenizer(address)
    assert '\n' not in str(error.value)
    assert 'trust' not in str(error.value)
    assert kept() == []
    server('/a.pth', file_of(1))
    assert read_state_dict(address)['a'][0] == 1


@pytest.mark.parametrize('status', [403, 404, 500])
def test_errors_of_the_server_are_named(status, server, kept):
    address = server('/a.pth', b'<html>', status=status)
    with pytest.raises(MissingFileError, match=rf'could not be downloaded \(.*{status}'):
        download(address)
    assert kept() == []


@pytest.mark.parametrize('sent', [0, 100])
def test_silence_ends_a_download(sent, server, kept, monkeypatch):
    monkeypatch.setattr(downloads, 'MOST_SECONDS_OF_SILENCE', 0.2)
    silence = threading.Event()
    address = server('/a.pth', file_of(1), sent=sent, silence=silence)
    with pytest.raises(MissingFileError, match=r'could not be downloaded .*timed out'):
        download(address)
    silence.set()
    assert kept() == []


def test_no_server_is_named(kept):
    with pytest.raises(MissingFileError, match='could not be downloaded'):
        download('http://127.0.0.1:9/a.pth')


def test_a_kept_file_that_was_damaged_is_deleted_and_fetched_again(server):
    address = server('/a.pth', file_of(1))
    path = download(address)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r'a\.pth, kept from .* damaged.*deleted: run again'):
        read_state_dict(address)
    assert not path.exists()
    assert read_state_dict(address)['a'][0] == 1


@pytest.mark.parametrize('umask', [0o022, 0o077, 0o002])
def test_files_have_the_users_permissions(umask, server):
    before = os.umask(umask)
    try:
        path = download(server('/a.pth', file_of(1)))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask


def test_what_a_killed_download_left_is_removed_and_a_running_one_is_not(server):
    address = server('/a.pth', file_of(1))
    path = download(address)
    path.unlink()
    old, new = (path.parent / f'.a.pth.{name}.partial' for name in ('old', 'new'))
    for partial in (old, new):
        partial.touch()
    os.utime(old, (time.time() - 7200,) * 2)
    download(address)
    left = [p for p in path.parent.iterdir() if p.suffix != '.lock']
    assert sorted(left) == [new, path]


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / 'torch').write_text('a file')
    with pytest.raises(UnreadableFileError, match=r'cannot write .*a\.pth.*TORCH_HOME'):
        download(server('/a.pth', file_of(1)))

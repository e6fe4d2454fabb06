"""Smaller copies of photos: reduced, never enlarged, resumed, made again where they are stale."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import mmbeitv2

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]
PHOTO = ROOT / 'demo/assets/backgrounds/train/path.jpg'


@pytest.fixture
def folder(tmp_path):
    """Large photos, a small one, a PNG and a text file."""
    root = tmp_path / 'train'
    (root / 'cat').mkdir(parents=True)
    (root / 'dog').mkdir()
    photo = Image.open(PHOTO).convert('RGB')
    for size, name in (((600, 400), 'cat/wide.JPEG'), ((200, 330), 'cat/high.jpg')):
        ImageOps.fit(photo, size).save(root / name, 'JPEG', quality=95)
    ImageOps.fit(photo, (90, 64)).save(root / 'dog/small.jpg')
    ImageOps.fit(photo, (150, 300)).convert('RGBA').save(root / 'dog/drawing.png')
    (root / 'dog/notes.txt').write_text('no photo')
    return root


@pytest.fixture
def prepare(monkeypatch, capsys):
    """Run the tool; return its message of failure, None without, and what it printed."""
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import prepare_images

    def run(*arguments):
        monkeypatch.setattr(sys, 'argv', ['prepare_images.py', *map(str, arguments)])
        capsys.readouterr()
        try:
            prepare_images.main()
        except SystemExit as end:
            printed = capsys.readouterr()
            return printed.err if end.code == 2 else str(end.code), printed.out
        return None, capsys.readouterr().out

    return run


def files(folder):
    return sorted(str(p.relative_to(folder)) for p in folder.rglob('*') if p.is_file())


def test_copies_are_small_and_keep_folders_and_names(prepare, folder, tmp_path):
    out = tmp_path / 'small'
    failure, printed = prepare(folder, out, '--short-side', '128', '--workers', '2')
    assert failure is None
    assert files(out) == [
        '.originals.jsonl',
        'cat/high.jpg',
        'cat/wide.JPEG',
        'dog/drawing.png.jpg',
        'dog/small.jpg',
        'prepared.json',
    ]
    assert Image.open(out / 'cat/wide.JPEG').size == (192, 128)
    assert Image.open(out / 'cat/high.jpg').size == (128, 211)
    assert Image.open(out / 'dog/drawing.png.jpg').mode == 'RGB'
    assert (out / 'dog/small.jpg').read_bytes() == (folder / 'dog/small.jpg').read_bytes()
    assert '4 photos in ' in printed
    assert 'times as fast' in printed


def test_copy_is_what_pillow_makes_of_the_photo(prepare, folder, tmp_path):
    prepare(folder, tmp_path / 'small', '--short-side', '128', '--quality', '95', '--workers', '1')
    found = np.asarray(Image.open(tmp_path / 'small/cat/wide.JPEG')).astype(int)
    whole = Image.open(folder / 'cat/wide.JPEG')
    expected = np.asarray(whole.resize((192, 128), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(found - expected).mean() < 4


def test_stopped_run_goes_on_and_leaves_finished_files_alone(prepare, folder, tmp_path):
    out = tmp_path / 'small'
    options = (folder, out, '--short-side', '128', '--workers', '1')
    prepare(*options)
    finished = out / 'cat/wide.JPEG'
    finished.write_bytes(b'left alone')
    (out / 'cat/high.jpg').unlink()
    (out / 'cat/high.jpg.123.part').write_bytes(b'half')
    failure, _ = prepare(*options)
    assert 'cat/high.jpg' in files(out)
    assert not any(name.endswith('.part') for name in files(out))
    assert finished.read_bytes() == b'left alone'
    assert 'wide.JPEG' in failure


def test_a_photo_that_has_changed_since_is_copied_again(prepare, folder, tmp_path):
    out = tmp_path / 'small'
    options = (folder, out, '--short-side', '128', '--workers', '1')
    prepare(*options)
    before = files(out)
    # Moved into its place, with the time of its own content, and small enough now.
    Image.open(PHOTO).resize((64, 64)).save(tmp_path / 'older.png')
    os.utime(tmp_path / 'older.png', (1, 1))
    name = next(n for n in before if n.endswith('.png.jpg'))
    original = folder / name.removesuffix('.jpg')
    (tmp_path / 'older.png').replace(original)
    (folder / 'cat/high.jpg').unlink()
    _, said = prepare(*options)
    assert (out / original.relative_to(folder)).read_bytes() == original.read_bytes()
    assert name not in files(out)
    assert '1 photos in' in said
    assert 'such as cat/high.jpg: remove them' in said


def swap(one, other):
    one.rename(one.with_name('swapped'))
    other.rename(one)
    one.with_name('swapped').rename(other)


@pytest.mark.parametrize('how', ['renamed', 'retargeted', 'older version'])
def test_photos_below_a_folder_that_is_another_now_are_copied_again(prepare, folder, tmp_path, how):
    photo = Image.open(PHOTO).convert('RGB')
    for kind, box in (('cat', (0, 0, 60, 40)), ('dog', (40, 30, 100, 70))):
        # Of one size and time.
        photo.crop(box).save(folder / kind / 'same.bmp')
        os.utime(folder / kind / 'same.bmp', (1, 1))
    if how == 'retargeted':
        for kind in ('cat', 'dog'):
            (folder / kind).rename(tmp_path / kind)
            (folder / kind).symlink_to(tmp_path / kind)
    out = tmp_path / 'small'
    options = (folder, out, '--short-side', '64', '--workers', '2')
    prepare(*options)
    if how == 'older version':
        (out / '.originals.jsonl').unlink()
    swap(folder / 'cat', folder / 'dog')
    failure, _ = prepare(*options)
    assert failure is None
    for kind in ('cat', 'dog'):
        found, expected = ((f / kind / 'same.bmp').read_bytes() for f in (out, folder))
        assert found == expected


def test_what_a_killed_run_noted_is_taken_and_half_a_line_is_not(prepare, folder, tmp_path):
    out = tmp_path / 'small'
    options = (folder, out, '--short-side', '128', '--workers', '1')
    prepare(*options)
    noted = (out / '.originals.jsonl').read_text()
    before = {name: (out / name).stat().st_mtime_ns for name in files(out) if '/' in name}
    (out / '.originals.jsonl').write_text(noted[:-4])
    prepare(*options)
    changed = [name for name in before if (out / name).stat().st_mtime_ns != before[name]]
    assert changed == ['dog/small.jpg']
    assert (out / '.originals.jsonl').read_text() == noted


def test_a_photo_that_was_damaged_since_is_named_with_its_copy(prepare, folder, tmp_path):
    out = tmp_path / 'small'
    options = (folder, out, '--short-side', '128', '--workers', '1')
    prepare(*options)
    (folder / 'cat/wide.JPEG').write_bytes(b'')
    failure, printed = prepare(*options)
    assert '1 of 4 photos cannot be read and have no copy, or one from before (1, ' in failure
    assert f'such as {out}/cat/wide.JPEG), which training reads if it stays; restore' in failure
    assert 'wide.JPEG: OSError: the file is empty' in failure
    assert '3 photos in ' in printed


@pytest.mark.parametrize('other', ['folder of mine', 'other settings', 'inside', 'size', 'empty'])
def test_what_cannot_be_meant_is_refused_before_any_work(prepare, folder, tmp_path, other):
    out = tmp_path / 'small'
    options = ['--short-side', '128', '--workers', '1']
    if other == 'folder of mine':
        out.mkdir()
        (out / 'thesis.txt').write_text('mine')
        message = 'exists and was not made by this tool'
    elif other == 'other settings':
        prepare(folder, out, '--short-side', '64', '--workers', '1')
        message = 'give the same, or another output folder'
    elif other == 'inside':
        out = folder / 'small'
        message = 'lie in one another'
    elif other == 'size':
        options[1] = '8'
        message = '--short-side is 8, but must be from 32 to 4096'
    else:
        folder = tmp_path / 'nothing'
        folder.mkdir()
        message = 'holds no photos'
    before = files(tmp_path)
    failure, _ = prepare(folder, out, *options)
    assert message in failure
    assert len(failure.splitlines()) == 1
    assert files(tmp_path) == before


def test_unreadable_photo_is_named_and_the_rest_is_made(prepare, folder, tmp_path):
    (folder / 'cat/broken.jpg').write_bytes(PHOTO.read_bytes()[:3000])
    failure, _ = prepare(folder, tmp_path / 'small', '--short-side', '128', '--workers', '1')
    assert '1 of 5 photos cannot be read' in failure
    assert 'cat/broken.jpg' in failure
    assert len(files(tmp_path / 'small')) == 6
    settings = json.loads((tmp_path / 'small/prepared.json').read_text())
    assert settings == dict(folder=str(folder), short_side=128, quality=90)


def test_photos_that_would_share_a_copy_are_refused(prepare, folder, tmp_path):
    (folder / 'dog/drawing.png.jpg').write_bytes((folder / 'cat/high.jpg').read_bytes())
    failure, _ = prepare(folder, tmp_path / 'small', '--short-side', '128', '--workers', '1')
    assert 'the smaller copy of dog/drawing.png would be dog/drawing.png.jpg' in failure
    assert len(failure.splitlines()) == 1
    assert not (tmp_path / 'small').exists()


def test_link_to_a_folder_above_is_not_followed(prepare, folder, tmp_path):
    (folder / 'cat/loop').symlink_to(folder)
    (folder / 'kitten').symlink_to(folder / 'cat')
    prepare(folder, tmp_path / 'small', '--short-side', '128', '--workers', '1')
    assert [name for name in files(tmp_path / 'small') if 'high.jpg' in name] == [
        'cat/high.jpg',
        'kitten/high.jpg',
    ]


def test_copy_keeps_the_orientation_of_the_photo(prepare, folder, tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    Image.open(folder / 'cat/wide.JPEG').save(folder / 'cat/turned.jpg', exif=exif)
    prepare(folder, tmp_path / 'small', '--short-side', '128', '--workers', '1')
    copies = [Image.open(tmp_path / 'small/cat' / name) for name in ('turned.jpg', 'wide.JPEG')]
    assert [copy.size for copy in copies] == [(192, 128)] * 2
    assert [copy.getexif().get(0x112) for copy in copies] == [6, None]


def test_a_copy_that_cannot_be_written_is_not_blamed_on_the_photo(prepare, folder, tmp_path):
    out = tmp_path / 'small'
    options = (folder, out, '--short-side', '128', '--workers', '2')
    prepare(*options)
    (out / 'dog/small.jpg').unlink()
    (out / 'dog/drawing.png.jpg').unlink()
    (out / 'dog').rmdir()
    (out / 'dog').touch()
    failure, _ = prepare(*options)
    assert 'dog/drawing.png.jpg cannot be written: ' in failure
    assert 'goes on from here' in failure


def test_pipes_and_broken_links_are_named(prepare, folder, tmp_path):
    os.mkfifo(folder / 'cat/pipe.jpg')
    (folder / 'cat/broken.jpg').symlink_to('nowhere.jpg')
    failure, _ = prepare(folder, tmp_path / 'small', '--short-side', '128', '--workers', '1')
    assert '2 of 6 photos cannot be read' in failure
    assert 'pipe.jpg: OSError: it is a pipe, socket or device, not a file' in failure
    assert 'broken.jpg: FileNotFoundError: ' in failure


def test_folders_that_cannot_be_made_or_read_are_one_line(prepare, folder, tmp_path, monkeypatch):
    (tmp_path / 'file').touch()
    failure, _ = prepare(folder, tmp_path / 'file/small')
    assert 'cannot be written: ' in failure
    (tmp_path / 'small').mkdir()
    (tmp_path / 'small/prepared.json').touch()
    failure, _ = prepare(folder, tmp_path / 'small')
    assert 'prepared.json is damaged' in failure
    monkeypatch.chdir(folder)
    failure, _ = prepare('.', 'small')
    assert f'such as {tmp_path / "train-320"}' in failure
    assert len(failure.splitlines()) == 1


@pytest.mark.parametrize('ending', [signal.SIGINT, signal.SIGKILL])
def test_an_ended_run_leaves_no_workers_and_goes_on(prepare, folder, tmp_path, ending):
    for number in range(300):
        (folder / f'{number}.jpg').hardlink_to(folder / 'cat/wide.JPEG')
    out = tmp_path / 'small'
    options = [folder, out, '--short-side', '128', '--workers', '2']
    command = [sys.executable, '-W', 'ignore', ROOT / 'tools/prepare_images.py', *options]
    with subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # A test run in the background may be deaf to interrupts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        while len(list(out.glob('*.jpg'))) < 3:
            time.sleep(0.01)
        process.send_signal(ending)
        # Its end of file comes with the end of the last process that holds the pipe.
        printed, _ = process.communicate(timeout=60)
    assert (b'Traceback' in printed, b'goes on where' in printed) == (
        False,
        ending == signal.SIGINT,
    )
    failure, _ = prepare(*options)
    assert failure is None
    assert len(list(out.glob('*.jpg'))) == 300

"""Photos in files of many: surveyed as folders are, and found again by a list of them."""

import os
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from photo_files import write_photo
from PIL import Image

from mmbeitv2.datasets import Photos
from mmbeitv2.datasets.decoding import read_bytes
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.datasets.photo_sources import load_tables
from mmbeitv2.datasets.survey import survey
from mmbeitv2.datasets.tables import Table
from mmbeitv2.errors import UserError

PIPELINE = [dict(type='mmbeitv2.LoadImage')]
FORMATS = ('tar', 'two tars', 'pattern', 'parquet', 'lmdb', 'list', 'two folders')


@pytest.fixture
def folder(tmp_path):
    """Six photos, one of them grey, in two folders with spaces in their names."""
    for i in range(6):
        write_photo(tmp_path / 'photos' / f'{"ab"[i % 2]} c' / f'{i}.png', seed=i, size=(80, 70))
    with Image.open(tmp_path / 'photos/a c/0.png') as image:
        image.convert('L').save(tmp_path / 'photos/a c/0.png')
    return tmp_path / 'photos'


def tar_of(path: Path, files: list[Path], root: Path) -> Path:
    with tarfile.open(path, 'w') as tar:
        for file in files:
            tar.add(file, file.relative_to(root))
    return path


def parquet_of(path: Path, files: list[Path], **columns) -> Path:
    pyarrow = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    images = [dict(bytes=file.read_bytes(), path=file.name) for file in files]
    parquet.write_table(pyarrow.table(dict(image=images, **columns)), path)
    return path


@pytest.fixture
def source(folder, tmp_path, monkeypatch):
    """The same photos in a format."""

    def write(name):
        files = sorted(folder.rglob('*.png'))
        if name == 'list':
            lines = [f'{file.relative_to(folder)}\n' for file in files]
            (folder / 'list.txt').write_text(''.join(lines))
            return folder / 'list.txt'
        if name == 'tar':
            return tar_of(tmp_path / 'all.tar', files, folder)
        if name in ('two tars', 'pattern'):
            tars = [
                tar_of(tmp_path / f'part{n}.tar', files[3 * n : 3 * n + 3], folder) for n in (0, 1)
            ]
            return tars if name == 'two tars' else tmp_path / 'part*.tar'
        if name == 'two folders':
            return [folder / 'a c', str(folder / 'b c')]
        if name == 'parquet':
            datasets = pytest.importorskip('datasets')
            monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
            return parquet_of(tmp_path / 'all.parquet', files)
        lmdb = pytest.importorskip('lmdb')
        path = str(tmp_path / 'all.lmdb')
        with lmdb.open(path, subdir=False) as opened, opened.begin(write=True) as writing:
            for file in files:
                writing.put(str(file.relative_to(folder)).encode(), file.read_bytes())
        return tmp_path / 'all.lmdb'

    return write


def read(found, list_file: Path) -> list[np.ndarray]:
    """The photos by a data set with their list, as the configs of ``pretrain`` have it."""
    list_file.write_text(''.join(f'{photo.name}\n' for photo in found.photos), encoding='utf-8')
    root = str(list_file.parent if found.folder is None else found.folder)
    photos = Photos(
        data_root=root,
        data_prefix='',
        ann_file=str(list_file),
        with_label=False,
        pipeline=PIPELINE,
    )
    return [np.asarray(photos[i]['img']) for i in range(len(photos))]


@pytest.mark.parametrize('name', FORMATS)
def test_every_format_is_surveyed_and_its_list_leads_to_its_photos(name, folder, source, tmp_path):
    expected = survey(folder)
    found = survey(source(name), workers=2)
    assert sorted((p.look, p.mode, p.short_side) for p in found.photos) == sorted(
        (p.look, p.mode, p.short_side) for p in expected.photos
    )
    assert '6 photos (5 RGB, 1 L)' in str(found)
    same = {pixels.tobytes() for pixels in read(expected, tmp_path / 'expected.txt')}
    assert {pixels.tobytes() for pixels in read(found, tmp_path / 'found.txt')} == same


def test_a_table_leads_somewhere_again_when_its_cache_was_emptied(source, tmp_path):
    path = source('parquet')
    found = survey(path)
    before = [pixels.tobytes() for pixels in read(found, tmp_path / 'list.txt')]
    from mmbeitv2.datasets import tables

    tables._arrow_file.close()
    shutil.rmtree(tmp_path / 'cache')
    load_tables(path)
    assert [pixels.tobytes() for pixels in read(found, tmp_path / 'list.txt')] == before


@pytest.mark.parametrize('change', ['photos', 'number of rows'])
def test_a_table_that_was_replaced_with_its_time_gives_its_own_photos(
    change, folder, source, tmp_path
):
    """As `rsync -t`, DVC and Nix put files back."""
    path = source('parquet')
    os.utime(path, (1, 1))
    before = list_photos(path).paths
    files = sorted(folder.rglob('*.png'))
    if change == 'photos':
        parquet_of(path, [files[1], files[0], *files[2:]])
    else:
        parquet_of(path, files[:4])
    os.utime(path, (1, 1))
    expected = [file.read_bytes() for file in files]
    expected = [expected[1], expected[0], *expected[2:]] if change == 'photos' else expected[:4]
    assert [read_bytes(name) for name in list_photos(path).paths] == expected
    # Addresses that were noted lead to what they led to.
    assert [read_bytes(name) for name in before] == [file.read_bytes() for file in files]


def test_a_table_that_is_replaced_while_it_is_opened_is_one_line(folder, source):
    table = Table([str(source('parquet'))])
    parquet_of(Path(table.files[0]), sorted(folder.rglob('*.png'))[:4])
    with pytest.raises(OSError, match='had 6 rows, and 4 when they were read'):
        table.load()


def test_a_damaged_photo_of_a_tar_is_named_and_the_others_are_kept(folder, tmp_path):
    damaged = folder / 'a c/2.png'
    damaged.write_bytes(damaged.read_bytes()[:500])
    found = survey(tar_of(tmp_path / 'all.tar', sorted(folder.rglob('*.png')), folder))
    assert len(found.photos) == 5
    assert [name.partition('#')[2].split('@')[0] for name in found.unreadable] == ['a c/2.png']


def test_a_name_that_no_line_can_hold_is_unreadable_or_of_no_account(folder, tmp_path):
    odd = (folder / 'a c/0.png').rename(folder / 'a c/line\nbreak.png')
    found = survey(folder)
    assert list(found.unreadable) == ['a c/line\nbreak.png']
    assert 'rename it' in found.unreadable['a c/line\nbreak.png']
    # Within a tar the name finds nothing.
    assert len(read(survey(tar_of(tmp_path / 'odd.tar', [odd], folder)), tmp_path / 'l.txt')) == 1


def cut(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


@pytest.mark.parametrize(
    ('make', 'message'),
    [
        (lambda tmp, files: tmp / 'absent', 'absent is no folder and no file: give a folder'),
        (lambda tmp, files: tmp / 'absent.tar', 'absent.tar. does not exist'),
        (lambda tmp, files: tar_of(tmp / 'n.tar', [tmp / 'n.txt'], tmp), 'n.tar has no photo; 1'),
        (lambda tmp, files: tar_of(tmp / 'n.tar', [], tmp), 'n.tar has no photo; it is empty'),
        (lambda tmp, files: cut(tar_of(tmp / 'c.tar', files, tmp)), 'c.tar. is truncated'),
        (lambda tmp, files: cut(parquet_of(tmp / 'c.parquet', files)), 'cannot be read as a Hug'),
        (lambda tmp, files: tmp / 'a.tar.gz', r'a.tar.gz. is compressed'),
        (lambda tmp, files: [tmp / 'n.txt', tmp], r'n.txt is a list, beside 1 other'),
        (lambda tmp, files: [tmp, tmp], 'so that photos would be seen twice'),
    ],
)
def test_what_is_no_source_is_one_line(make, message, folder, tmp_path):
    (tmp_path / 'n.txt').write_text('none')
    pytest.importorskip('datasets')
    with pytest.raises(UserError, match=message) as refusal:
        survey(make(tmp_path, sorted(folder.rglob('*.png'))))
    assert '\n' not in str(refusal.value)


def test_a_table_without_or_with_several_image_columns(folder, tmp_path, source):
    source('parquet')
    pyarrow = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(dict(text=['a', 'b'])), tmp_path / 'text.parquet')
    with pytest.raises(UserError, match=r'no image column; its columns are text .*--image-column'):
        survey(tmp_path / 'text.parquet')
    files = sorted(folder.rglob('*.png'))
    path = parquet_of(tmp_path / 'two.parquet', files, mask=[f.read_bytes() for f in files])
    with pytest.raises(UserError, match='several image columns'):
        survey(path)
    assert len(survey(path, image_column='image').photos) == 6


def test_names_of_lists_hold_from_any_folder(source, tmp_path, monkeypatch):
    source('tar')
    monkeypatch.chdir(tmp_path)
    found = survey('all.tar')
    os.makedirs(tmp_path / 'elsewhere')
    monkeypatch.chdir(tmp_path / 'elsewhere')
    assert len(read(found, tmp_path / 'elsewhere' / 'list.txt')) == 6

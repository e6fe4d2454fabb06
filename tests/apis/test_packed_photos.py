"""Photos in tars, tables, LMDB files and lists of them are used as those of a folder are."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
from packed_photos import FORMATS, own_cache, pack
from photo_files import write_photo
from PIL import Image

from mmbeitv2.apis import classify, embed
from mmbeitv2.datasets.decoding import read_bytes
from mmbeitv2.datasets.listing import photo_path
from mmbeitv2.datasets.photo_list import list_photos
from mmbeitv2.exchange.embeddings import read_embeddings


@pytest.fixture
def packed(photos, tmp_path, monkeypatch):
    own_cache(monkeypatch, tmp_path)
    return lambda name: pack(photos, name, tmp_path)


@pytest.mark.parametrize('name', FORMATS)
def test_features_are_those_of_the_folder_and_names_lead_to_the_photos(
    name, packed, photos, pretrained_checkpoint, tmp_path
):
    how = dict(num_heads=4, precision='float32')
    expected = read_embeddings(embed(pretrained_checkpoint, photos, tmp_path / 'a.npz', **how).path)
    done = embed(pretrained_checkpoint, packed(name), tmp_path / 'b.npz', **how)
    found = read_embeddings(done.path)
    np.testing.assert_allclose(found.arrays['cls'], expected.arrays['cls'], atol=1e-6)
    assert found.meta['folder'] == ('' if name != 'list' else str(tmp_path))
    for ours, theirs in zip(found.paths, expected.paths, strict=True):
        assert read_bytes(photo_path(found.meta['folder'], ours)) == (photos / theirs).read_bytes()
    again = embed(pretrained_checkpoint, packed_again(name, tmp_path), tmp_path / 'b.npz', **how)
    assert (again.photos, again.resumed) == (5, 5)


@pytest.mark.parametrize('name', FORMATS)
def test_a_file_that_was_replaced_gives_its_own_photos(name, packed, photos, tmp_path):
    """In one process, as in a notebook: the old file had stayed open under the path of the new."""

    def contents():
        return [path.read_bytes() for path in sorted(photos.rglob('*.*[!t]'))]

    def read(source):
        found = list_photos(source)
        return [read_bytes(photo_path(found.folder or '', name)) for name in found.names]

    source = packed(name)
    assert read(source) == contents()
    # Of the same sizes and at the same places, so that nothing else can tell.
    for path in photos.rglob('*.bmp'):
        write_photo(path, seed=7, size=(80, 70))
    (tmp_path / 'new').mkdir()
    new = pack(photos, 'tar' if name == 'list' else name, tmp_path / 'new')
    replaced = tmp_path / new.name
    if replaced.is_dir():
        replaced.rename(tmp_path / 'old')
    new.replace(replaced)
    assert read(source) == contents()


def test_features_of_a_table_outlast_the_cache_that_it_is_read_from(
    packed, pretrained_checkpoint, tmp_path
):
    table = packed('parquet')
    how = dict(num_heads=4, precision='float32')
    path = embed(pretrained_checkpoint, table, tmp_path / 'out.npz', **how).path
    shutil.rmtree(tmp_path / 'cache')
    assert embed(pretrained_checkpoint, table, path, **how).resumed == 5
    time = table.stat().st_mtime_ns
    shutil.move(pack_swapped(table), table)
    os.utime(table, ns=(time, time))
    with pytest.raises(FileExistsError, match=r'of another run \(another photos\)'):
        embed(pretrained_checkpoint, table, path, **how)


def pack_swapped(table):
    """The same rows in another order."""
    pyarrow = pytest.importorskip('pyarrow')
    from pyarrow import parquet

    rows = parquet.read_table(table)
    other = table.with_name('other.parquet')
    parquet.write_table(rows.take(pyarrow.array([1, 0, 2, 3, 4])), other)
    return other


def packed_again(name, tmp_path):
    names = dict(tar='all.tar', parquet='all.parquet', saved='saved', lmdb='all.lmdb')
    return tmp_path / names.get(name, 'list.txt')


def test_several_sources_are_embedded_one_behind_the_other(
    packed, photos, pretrained_checkpoint, tmp_path
):
    sources = [photos, packed('tar')]
    done = embed(pretrained_checkpoint, sources, tmp_path / 'all.npz', num_heads=4)
    found = read_embeddings(done.path)
    assert len(found.paths) == 10
    np.testing.assert_allclose(found.arrays['mean'][:5], found.arrays['mean'][5:], atol=1e-5)


@pytest.mark.parametrize('name', ['tar', 'parquet'])
def test_classes_are_those_of_the_folder(name, packed, photos, classifier):
    expected = classify(classifier[1], photos, precision='float32')
    found = classify(classifier[1], packed(name), precision='float32')
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-6)
    assert [read_bytes(path) for path in found.paths] == list(map(read_bytes, expected.paths))


@pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')
@pytest.mark.parametrize('name', ['tar', 'saved'])
def test_maps_and_overlays_are_named_by_the_file_and_the_photo_in_it(
    name, packed, photos, segmenter, tool, tmp_path
):
    source = packed(name)
    code, _, error = tool('segment', segmenter[1], source, '--out', tmp_path / 'out')
    assert code == 0, error
    maps = sorted((tmp_path / 'out/maps').rglob('*.png'))
    assert len(maps) == len(list((tmp_path / 'out/overlays').rglob('*.jpg'))) == 5
    assert Image.open(maps[0]).size == (80, 70)
    folder = tmp_path / 'out/maps' / source.relative_to('/')
    if name == 'tar':
        assert folder / 'a/c.jpg.png' in maps
    else:
        assert {path.name for path in maps} >= {'0_c.jpg.png', '4_z.bmp.png'}
    with (tmp_path / 'out/shares.csv').open() as file:
        assert len(list(csv.reader(file))) == 6


def test_photos_in_a_file_are_classified_from_the_command_line(packed, classifier, tool, tmp_path):
    out, picture = tmp_path / 'classes.json', tmp_path / 'classes.png'
    options = ['--out', out, '--picture', picture]
    code, _, error = tool('classify', classifier[1], packed('parquet'), *options)
    assert code == 0, error
    named = [photo['photo'] for photo in json.loads(out.read_text())['photos']]
    assert [name.rpartition('#')[2] for name in named] == [
        'c.jpg', 'd.png', 'b.png', 'e.png', 'z.bmp',
    ]  # fmt: skip
    assert Image.open(picture).width > 300

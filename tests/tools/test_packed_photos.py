"""Tools that look at labelled photos, or draw some, take those in tars and tables."""

import json
import re
from pathlib import Path

import pytest
from packed_photos import own_cache, pack
from photo_files import write_classes, write_photo
from PIL import Image

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.looked_photos import held_out_photos, labelled_photos

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder(tmp_path):
    """Six photos of two classes."""
    folder = write_classes(tmp_path / 'photos', 'cat', 'dog')
    for name in ('cat', 'dog'):
        write_photo(folder / name / '2.png', seed=len(name) + ord(name[0]))
    return folder


@pytest.fixture
def packed(folder, tmp_path, monkeypatch):
    own_cache(monkeypatch, tmp_path)
    return lambda name: pack(folder, name, tmp_path)


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    return lambda name, *arguments: __import__(name).main([*map(str, arguments)])


@pytest.mark.parametrize('name', ['tar', 'parquet', 'saved'])
@pytest.mark.parametrize('probe', ['few_shot', 'probe'])
def test_labels_in_files_are_asked_about(
    probe, name, packed, folder, checkpoint, tool, capsys, tmp_path
):
    options = ['--shots', 1, '--draws', 2]
    options += ['--num-heads', 4, '--precision', 'float32'] if probe == 'probe' else []
    printed = []
    for photos in (folder, packed(name)):
        tool(probe, checkpoint, photos, *options)
        printed.append(re.findall(r'\d+\.\d ± \d+\.\d', capsys.readouterr().out))
    assert printed[0] == printed[1] != []


def test_a_file_without_labels_is_refused_in_a_line(packed, checkpoint, tool, capsys):
    with pytest.raises(SystemExit, match='2'):
        tool('few_shot', checkpoint, packed('lmdb'))
    assert 'all.lmdb has no labels of 2 classes or more' in capsys.readouterr().err


@pytest.mark.parametrize('name', ['tar', 'saved'])
def test_figures_of_photos_in_files(name, packed, checkpoint, tool, tmp_path):
    options = ['--out', tmp_path / 'figures', '--num-heads', 4, '--count', 2, '--neighbours', 2]
    tool('show', checkpoint, packed(name), *options)
    assert Image.open(tmp_path / 'figures/neighbours.png').width > 100


@pytest.mark.parametrize('name', ['tar', 'parquet'])
def test_an_atlas_of_photos_in_files_has_their_classes(name, packed, checkpoint, tool, tmp_path):
    out = tmp_path / 'atlas.html'
    tool('atlas', checkpoint, packed(name), '--labels', '--out', out, '--num-heads', 4)
    found = re.search(r'<script[^>]*id="data"[^>]*>(.*?)</script>', out.read_text(), re.S)
    data = json.loads(found[1])
    assert data['classes'] == (['0', '1'] if name == 'tar' else ['cat', 'dog'])
    shown = dict(tar='all.tar/dog/2.png', parquet='parquet-train.arrow/5_2.png')
    assert shown[name] in data['photos']['names']


@pytest.mark.parametrize('name', ['tar', 'parquet'])
def test_photos_of_looks_lie_in_files(name, packed, folder):
    found = labelled_photos(packed(name), 99)
    expected = labelled_photos(folder, 99)
    assert found.labels.tolist() == expected.labels.tolist()
    assert len(held_out_photos(packed_again(name, folder), None, 99)) == 6


def packed_again(name, folder):
    return folder.parent / f'all.{name}'


def test_labels_of_a_folder_do_not_fit_photos_in_a_file(packed, tmp_path):
    from mmbeitv2.datasets.photo_folder import find_photos, labels_of

    (tmp_path / 'labels.csv').write_text('cat/0.png,good\n')
    tar = packed('tar')
    with pytest.raises(InputError, match=r'labels\.csv names photos of a folder: give photos in'):
        labels_of(find_photos(tar), tar, str(tmp_path / 'labels.csv'))


@pytest.fixture
def two_columns(folder, tmp_path, monkeypatch):
    """A table with the photos, and the same upside down, and two columns of classes."""
    own_cache(monkeypatch, tmp_path)
    datasets = pytest.importorskip('datasets')
    files = sorted(folder.rglob('*.png'))
    image, classes = datasets.Image(), datasets.ClassLabel(names=['cat', 'dog'])
    features = dict(upright=image, turned=image, animal=classes, other=classes)
    content = [dict(bytes=file.read_bytes(), path=file.name) for file in files]
    names = [file.parent.name for file in files]
    table = datasets.Dataset.from_dict(
        dict(upright=content, turned=content[::-1], animal=names, other=names[::-1]),
        features=datasets.Features(features),
    )
    table.to_parquet(tmp_path / 'two.parquet')
    return tmp_path / 'two.parquet'


COLUMNS = ('--image-column', 'upright', '--label-column', 'animal')
TAKES_COLUMNS = dict(
    few_shot=('--shots', 1, '--draws', 2, *COLUMNS),
    probe=('--shots', 1, '--draws', 2, '--num-heads', 4, *COLUMNS),
    show=('--out', 'figures', '--num-heads', 4, '--count', 2, *COLUMNS[:2]),
    atlas=('--out', 'atlas.html', '--labels', '--num-heads', 4, *COLUMNS),
    embed=('--out', 'features.npz', '--num-heads', 4, *COLUMNS[:2]),
)


@pytest.mark.parametrize('name', TAKES_COLUMNS)
def test_the_option_that_the_refusal_of_several_columns_names_is_taken(
    name, two_columns, checkpoint, tool, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    options = TAKES_COLUMNS[name]
    start = options.index('--image-column')
    with pytest.raises(SystemExit, match='2'):
        tool(name, checkpoint, two_columns, *options[:start])
    assert '--image-column' in capsys.readouterr().err
    tool(name, checkpoint, two_columns, *options)

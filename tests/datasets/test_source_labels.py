"""Labels that photos in tables and tars bring with them."""

import pytest
from photo_files import write_photo

from mmbeitv2.datasets.photo_sources import find_sources
from mmbeitv2.datasets.source_labels import source_labels
from mmbeitv2.errors import InputError

datasets = pytest.importorskip('datasets')
SPECIES, UNKNOWN = ['dog', 'cat'], -1


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes six photos and columns of labels, as Parquet or by save_to_disk."""
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    files = [write_photo(tmp_path / f'{i}.png', seed=i) for i in range(6)]

    def write(name='all.parquet', **columns):
        features = dict(image=datasets.Image())
        values = dict(image=[dict(bytes=f.read_bytes(), path=None) for f in files])
        for column, (kind, numbers) in columns.items():
            features[column], values[column] = kind, numbers
        made = datasets.Dataset.from_dict(values, features=datasets.Features(features))
        path = tmp_path / name
        if name.endswith('.parquet'):
            made.to_parquet(path)
        else:
            made.save_to_disk(path)
        return path

    return write


def named(*numbers):
    return datasets.ClassLabel(names=SPECIES), list(numbers)


@pytest.mark.parametrize('name', ['all.parquet', 'saved'])
def test_the_column_whose_classes_have_names(table, name):
    source = table(name, species=named(0, 1, 1, UNKNOWN, 0, 1))
    found = source_labels(source)
    assert found.shown == "the column 'species'"
    assert list(found.classes.values()) == ['dog', 'cat', 'cat', 'dog', 'cat']
    # Addresses are those by which the photos are found.
    assert set(found.classes) < set(find_sources(source).names)


def test_one_of_several_columns(table):
    numbers = datasets.Value('int64'), [3, 3, 4, 4, 4, 4]
    two = dict(species=named(0, 1, 1, 0, 0, 1), sex=named(1, 1, 1, 1, 1, 1), age=numbers)
    source = table(**two)
    assert source_labels(source) is None
    assert set(source_labels(source, label_column='sex').classes.values()) == {'cat'}
    assert set(source_labels(source, label_column='age').classes.values()) == {'3', '4'}
    with pytest.raises(InputError, match=r"no column 'breed' of whole numbers.* species"):
        source_labels(source, label_column='breed')


def test_numbers_are_labels_only_where_somebody_says_so(table):
    source = table(label=(datasets.Value('int64'), [3, 3, 4, 4, 4, 4]))
    assert source_labels(source, numbers=False) is None
    assert set(source_labels(source).classes.values()) == {'3', '4'}


def test_names_and_numbers_are_not_mixed(table):
    sources = [table(species=named(0, 1, 1, 0, 0, 1)), table('b.parquet', kind=named(*[0] * 6))]
    with pytest.raises(
        InputError, match=r"all.parquet \(the column 'species'\) than in .*b.parquet"
    ):
        source_labels(sources)


def test_sources_without_labels(table, tmp_path):
    assert source_labels(table()) is None
    assert source_labels(tmp_path) is None
    (tmp_path / 'list.txt').write_text('0.png')
    assert source_labels(tmp_path / 'list.txt') is None

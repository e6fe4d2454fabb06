"""Photos of a folder and their labels: all that is wrong is found before anything is computed."""

from pathlib import Path

import pytest
from photo_files import write_classes, write_photo

from mmbeitv2.datasets.photo_folder import FOLDERS, find_photos, labels_of
from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / 'photos', 'cat', 'dog')


def test_photos_of_all_folders_are_found_in_order(folder):
    (folder / 'notes.txt').write_text('no photo')
    names = [Path(path).relative_to(folder).as_posix() for path in find_photos(folder)]
    assert names == ['cat/0.png', 'cat/1.png', 'dog/0.png', 'dog/1.png']


def test_labels_are_the_folders(folder):
    assert labels_of(find_photos(folder), folder, FOLDERS) == ['cat', 'cat', 'dog', 'dog']


@pytest.mark.parametrize('header', ['', 'photo,label\n'])
def test_a_table_may_leave_photos_without_a_label(folder, tmp_path, header):
    table = tmp_path / 'labels.csv'
    table.write_text(f'{header}dog/0.png,"big, brown"\ncat/1.png,x,small\n\n')
    labels = labels_of(find_photos(folder), folder, str(table))
    assert labels == [None, 'small', 'big, brown', None]


@pytest.mark.parametrize(
    ('text', 'error', 'message'),
    [
        (
            'dog/7.png,a\ncat/0.png,b\n',
            MissingFileError,
            r"labels 1 of its 2 .*: 'dog/7\.png'\. Write",
        ),
        ('cat/0.png\n', InputError, 'line 1 of .* has no label: write PHOTO,LABEL'),
        ('cat/0.png, \n', InputError, 'line 1 of .* has no label'),
        ('photo,label\n', InputError, 'labels no photo'),
    ],
)
def test_a_faulty_table_is_one_line(folder, tmp_path, text, error, message):
    table = tmp_path / 'labels.csv'
    table.write_text(text)
    with pytest.raises(error, match=message) as found:
        labels_of(find_photos(folder), folder, str(table))
    assert '\n' not in str(found.value)


def test_what_is_missing_or_no_photo_is_named(folder, tmp_path):
    with pytest.raises(MissingFileError, match=r'no photos at .*nowhere'):
        find_photos(tmp_path / 'nowhere')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(InputError, match='has no photo; it is empty: give a folder with files'):
        find_photos(tmp_path / 'empty')
    with pytest.raises(MissingFileError, match=r'no table .*none\.csv'):
        labels_of(find_photos(folder), folder, str(tmp_path / 'none.csv'))
    write_photo(folder / 'loose.png')
    with pytest.raises(InputError, match=r"has 1 photos in no class folder \('loose\.png'\)"):
        labels_of(find_photos(folder), folder, FOLDERS)
    (folder / 'cat' / 'broken.jpg').write_text('no image')
    with pytest.raises(UnreadableFileError, match=r'broken\.jpg'):
        find_photos(folder)

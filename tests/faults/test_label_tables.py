"""Tables of labels as people have them: other encodings and separators, contradictions."""

import sys
from pathlib import Path

import pytest
from photo_files import write_classes

from mmbeitv2.datasets.photo_folder import find_photos, labels_of
from mmbeitv2.evaluation.looked_photos import labelled_photos

ROOT = Path(__file__).resolve().parents[2]
ROWS = ['a/0.png,cat', 'a/1.png,cat', 'b/0.png,dög', 'b/1.png,dög']
TEXT = '\n'.join(ROWS)


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')


@pytest.fixture
def folder(tmp_path):
    return write_classes(tmp_path / 'photos', 'a', 'b')


@pytest.fixture
def labels(folder):
    """The label of each photo by a table of these bytes, as commands and looks read it."""

    def read(content: bytes) -> list[str | None]:
        (folder / 'labels.csv').write_bytes(content)
        found = labels_of(find_photos(folder), folder, str(folder / 'labels.csv'))
        assert labelled_photos(folder / 'labels.csv', 100).classes == sorted(set(found))
        return found

    return read


@pytest.mark.parametrize(
    'content',
    [
        TEXT.encode(),
        TEXT.encode('utf-8-sig'),
        TEXT.replace('\n', '\r\n').encode(),
        f'photo,label\n{TEXT}\n\n'.encode(),
        f'{TEXT}\n{ROWS[0]}\n'.encode(),
        TEXT.replace('a/', './a/').replace(',', ',"more; here",').encode(),
        f'{TEXT}\n   \n,\n , ,\n'.encode(),
        f'\n,\nimage_name,defect\n{TEXT}'.encode(),
        f'"photo\nfile",label\n{TEXT}'.encode(),
    ],
    ids=['plain', 'mark', 'windows', 'header', 'twice', 'columns', 'blank', 'lower', 'lines'],
)
def test_the_same_labels(labels, content):
    assert labels(content) == ['cat', 'cat', 'dög', 'dög']


@pytest.mark.parametrize('header', ['path,label', 'file,class', 'image_name,defect', 'photo'])
def test_a_header_names_no_photo(labels, header):
    assert labels(f'{header}\n{TEXT}'.encode()) == ['cat', 'cat', 'dög', 'dög']


@pytest.mark.parametrize('typed', ['a/0.pngg', 'a/0', '0.pgn', '0'])
def test_a_mistyped_photo_in_the_first_row_is_no_header(labels, typed):
    """As in every other row: it was passed over there."""
    with pytest.raises(OSError, match=f"labels 1 of its 4 photos that are not in .*'{typed}'"):
        labels(TEXT.replace('a/0.png', typed).encode())


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (TEXT.encode('latin-1'), r'is no UTF-8 text .*: save it as .CSV UTF-8.'),
        (TEXT.encode('utf-16'), r'is no UTF-8 text .*: save it as .CSV UTF-8.'),
        (TEXT.replace(',', ';').encode(), 'are parted by semicolons, allowed are commas'),
        (f'photo\tlabel\n{TEXT}'.replace(',', '\t').encode(), 'are parted by tabs, allowed are'),
        (f'{TEXT}\na/0.png,dög'.encode(), "line 5 .* labels 'a/0.png' as 'dög', an earlier"),
        (f'{TEXT}\n./a/0.png,dög'.encode(), "line 5 .* labels 'a/0.png' as 'dög', an earlier"),
        (TEXT.encode() + b'\0', 'line 4 of .* is no CSV: line contains NUL'),
        (f'"photo\nfile",label\n{TEXT}\na/0.png'.encode(), 'line 7 .* has no label'),
    ],
    ids=['latin', 'utf-16', 'semicolons', 'tabs', 'two labels', 'two names', 'nul', 'lines'],
)
def test_one_line(labels, content, message):
    with pytest.raises(ValueError, match=message) as caught:
        labels(content)
    assert '\n' not in str(caught.value)


@pytest.mark.usefixtures('tools')
class TestGroups:
    @pytest.fixture
    def shown(self, folder):
        from labelled_photos import shown_by

        def read(content: str | bytes) -> list[str]:
            content = content if isinstance(content, bytes) else content.encode()
            (folder / 'groups.csv').write_bytes(content)
            return shown_by(
                [str(folder / row.split(',')[0]) for row in ROWS], folder / 'groups.csv'
            )

        return read

    def test_the_mark_of_a_spreadsheet_is_no_part_of_a_name(self, shown):
        assert shown(TEXT.encode('utf-8-sig')) == ['cat', 'cat', 'dög', 'dög']

    def test_a_photo_alone_shows_nothing(self, shown):
        """Each would be a thing of its own: labelled and asked photos could show the same."""
        with pytest.raises(ValueError, match=r'line 1 of .* has one column'):
            shown('\n'.join(row.split(',')[0] for row in ROWS))

    def test_blanks_beside_a_name_are_no_other_thing(self, shown):
        assert shown(TEXT.replace('1.png,cat', '1.png, cat ')) == ['cat', 'cat', 'dög', 'dög']

    @pytest.mark.parametrize('nothing', ['', '  '])
    def test_a_photo_that_shows_nothing(self, shown, nothing):
        """All of them would be one thing."""
        with pytest.raises(ValueError, match=r"line 2 of .* does not say what 'a/1.png' shows"):
            shown(TEXT.replace('1.png,cat', f'1.png,{nothing}'))

    def test_a_photo_of_two_things(self, shown):
        with pytest.raises(ValueError, match=r"'a/0.png' shows 'dög', an earlier one 'cat'"):
            shown(f'{TEXT}\na/0.png,dög')


@pytest.mark.usefixtures('tools')
def test_classes_that_are_no_names_of_folders(folder, tmp_path):
    """None is hidden, and none falls together with another."""
    from labelled_photos import find_photos
    from own_labels import put_labelled

    names = ['.cat', 'a/b', 'a_b', '..', '.', 'dog', 'Dog', 'x_8', 'x', 'é' * 300, 'é' * 301]
    paths = [str(path) for path in sorted(folder.glob('a/*.png'))]
    put_labelled(dict.fromkeys(names, paths), tmp_path / 'labelled')
    found = find_photos(tmp_path / 'labelled', None)
    assert len(found.paths) == len(names) * len(paths)
    assert len(set(map(str.casefold, found.classes))) == len(names)


@pytest.mark.usefixtures('tools')
@pytest.mark.skipif(sys.platform != 'linux', reason='names of 255 bytes')
def test_a_photo_of_the_longest_name_is_linked(folder, tmp_path):
    from own_labels import put_labelled

    long = folder / 'a' / f'{"x" * 251}.png'
    (folder / 'a/0.png').rename(long)
    put_labelled(dict(cat=[str(long)]), tmp_path / 'labelled')
    (link,) = (tmp_path / 'labelled/cat').iterdir()
    assert link.resolve() == long

"""Photos whose names are no text, or hold a line break: every command ends with all of them."""

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from photo_files import write_classes, write_photo

from mmbeitv2.apis import embed
from mmbeitv2.datasets.replacement import UnreadFiles, noted_files
from mmbeitv2.datasets.survey import survey
from mmbeitv2.exchange.embeddings import read_embeddings

ROOT = Path(__file__).resolve().parents[2]
# As Linux takes them: 'café.png' in Latin-1, as Python reads its byte, and as text shows that.
NO_TEXT, SHOWN = 'caf\udce9.png', 'caf\\udce9.png'
LINES = 'new\nline.png'

pytestmark = pytest.mark.skipif(sys.platform != 'linux', reason='names are bytes')


@pytest.fixture
def photos(tmp_path):
    for index, name in enumerate([NO_TEXT, LINES, 'plain.png']):
        write_photo(tmp_path / 'photos' / name, seed=index, size=(80, 70))
    return tmp_path / 'photos'


def first_column(path):
    with path.open(encoding='utf-8', newline='') as file:
        return [row[0] for row in csv.reader(file)][1:]


def test_classes(classifier, photos, tool, tmp_path):
    for name in ('out.csv', 'out.json'):
        assert tool('classify', classifier[1], photos, '--out', tmp_path / name)[0] == 0
    assert first_column(tmp_path / 'out.csv') == [SHOWN, LINES, 'plain.png']
    found = json.loads((tmp_path / 'out.json').read_text(encoding='utf-8'))
    assert [photo['photo'] for photo in found['photos']] == [NO_TEXT, LINES, 'plain.png']


def test_class_maps(segmenter, photos, tool, tmp_path):
    assert tool('segment', segmenter[1], photos, '--out', tmp_path / 'out')[0] == 0
    assert first_column(tmp_path / 'out/shares.csv') == [SHOWN, LINES, 'plain.png']
    assert (tmp_path / 'out/maps' / f'{NO_TEXT}.png').is_file()


def test_embeddings(pretrained_checkpoint, photos, tmp_path):
    options = dict(num_heads=4, precision='float32')
    done = embed(pretrained_checkpoint, photos, tmp_path / 'out.npz', **options)
    assert read_embeddings(done.path).paths == [NO_TEXT, LINES, 'plain.png']
    pytest.importorskip('pyarrow')
    with pytest.raises(ValueError, match=r'1 photos have names that are no UTF-8 text'):
        embed(pretrained_checkpoint, photos, tmp_path / 'out.parquet', **options)
    assert not list(tmp_path.glob('out.parquet*'))


def test_probe(pretrained_checkpoint, photos, tool, tmp_path):
    known = write_classes(tmp_path / 'known', 'a', 'b')
    options = ['--shots', 1, '--draws', 2, '--num-heads', 4, '--precision', 'float32']
    asked = ['--ask', photos, '--out', tmp_path / 'out.csv']
    assert tool('probe', pretrained_checkpoint, known, *asked, *options)[0] == 0
    assert first_column(tmp_path / 'out.csv') == [SHOWN, LINES, 'plain.png']


def test_atlas(tokenizer_checkpoint, photos, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import atlas

    page = tmp_path / 'atlas.html'
    atlas.main([str(tokenizer_checkpoint), str(photos), '--out', str(page), '--num-heads', '4'])
    data = re.search(r'<script type="application/json" id="data">(.*)</script>', page.read_text())
    assert NO_TEXT in json.dumps(json.loads(data[1]), ensure_ascii=False)


def test_a_survey_leaves_out_what_no_list_can_hold(photos):
    found = survey(photos)
    assert [photo.name for photo in found.photos] == ['plain.png']
    assert 'no UTF-8 text, which a list needs: rename it' in found.unreadable[NO_TEXT]
    assert 'holds a line break' in found.unreadable[LINES]


def test_a_replaced_photo_is_noted_by_its_name(tmp_path):
    unread = UnreadFiles(limit=3, images=10)
    unread.list_file = tmp_path / 'unread.txt'
    unread.add(NO_TEXT, 'no image')
    assert noted_files(tmp_path / 'unread.txt') == {NO_TEXT}


def test_a_name_of_two_lines_is_one_photo_of_a_run(tmp_path):
    """Its parts would count as photos, of which a run bears a few."""
    unread = UnreadFiles(limit=1, images=10)
    unread.list_file = tmp_path / 'unread.txt'
    for _ in range(2):
        unread.add(LINES, 'no image')
    assert noted_files(tmp_path / 'unread.txt') == {'new\\nline.png'}


def test_a_stopped_check_keeps_names_of_two_lines(photos, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import check_images

    names = [LINES, 'b\u2028.png', 'c']
    first = check_images.Progress(tmp_path, names, photos, '')
    for name in names[:2]:
        first.add(name, 'no image')
    first.write()
    assert check_images.Progress(tmp_path, names, photos, '').bad == [
        'new\\nline.png\tno image',
        'b\u2028.png\tno image',
    ]


def test_a_stopped_check_begins_anew_where_its_photos_have_changed(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import check_images

    names = ['a.png', 'b.png', 'c.png']
    for seed, name in enumerate(names):
        write_photo(tmp_path / 'photos' / name, seed)
    arguments = tmp_path / 'out', names, tmp_path / 'photos', ''
    first = check_images.Progress(*arguments)
    first.add(names[0], 'truncated')
    first.add(names[1], None)
    first.write()
    assert check_images.Progress(*arguments).done == 2
    write_photo(tmp_path / 'photos/a.png', seed=9, size=(30, 16))
    again = check_images.Progress(*arguments)
    assert (again.done, again.bad) == (0, [])


@pytest.mark.parametrize('encoding', ['ascii', 'utf-8'])
def test_a_console_shows_what_it_can(photos, tmp_path, encoding):
    """Neither such a name nor a letter that the console lacks ends a tool."""
    (photos / 'ü\udce9.txt').write_text('no photo')
    ended = subprocess.run(
        [sys.executable, ROOT / 'tools/check_images.py', photos, '--workers', '1'],
        capture_output=True,
        cwd=tmp_path,
        env={
            **os.environ,
            'PYTHONPATH': str(ROOT),
            'PYTHONIOENCODING': encoding,
            'OMP_NUM_THREADS': '1',
        },
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    letter = 'ü' if encoding == 'utf-8' else '\\xfc'
    assert f'(1 of another extension): {letter}\\udce9.txt' in ended.stdout.decode()

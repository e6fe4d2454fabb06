"""One command from a folder of photos: what it refuses, and the whole of it."""

import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]


class Answer(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    import pretrain

    return pretrain


@pytest.fixture
def photos(tmp_path):
    """A hundred and twenty photos of blocks of colour."""
    random = np.random.default_rng(0)
    folder = tmp_path / 'photos'
    folder.mkdir()
    for i in range(120):
        pixels = random.integers(0, 255, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((72, 72), Image.Resampling.BICUBIC).save(folder / f'{i}.png')
    return folder


def refused(tool, *arguments) -> str:
    with pytest.raises((ValueError, OSError)) as refusal:
        tool.main([str(argument) for argument in arguments])
    assert '\n' not in str(refusal.value)
    return str(refusal.value)


def test_photos_are_judged_before_anything_is_written(tool, photos, tmp_path):
    out = tmp_path / 'run'
    for path in sorted(photos.iterdir())[:60]:
        path.write_bytes(b'no image')
    assert '60 of 120 files' in refused(tool, photos, '--out', out)
    for path in sorted(photos.iterdir())[3:]:
        path.unlink()
    refused(tool, photos, '--out', out)
    assert not list(out.glob('*.py'))


@pytest.mark.parametrize(
    ('teacher', 'message'),
    [
        ('clap', "--teacher is 'clap', allowed: clip, dino, lite0 or timm:MODEL"),
        ('clip@nowhere.pt', 'there is no file nowhere.pt'),
    ],
)
def test_a_teacher_that_is_not_there(tool, photos, tmp_path, teacher, message):
    assert message in refused(tool, photos, '--out', tmp_path / 'run', '--teacher', teacher)


@pytest.mark.parametrize(
    ('option', 'name', 'message'),
    [
        ('--tokenizer', 'beitv2-b16-300e', 'of kind pretraining, but a tokenizer is wanted'),
        ('--from', 'vqkd-b16-clip', 'of kind tokenizer, but a backbone is wanted'),
        ('--from', 'beitv2-b16-300-e', 'no checkpoint at beitv2-b16-300-e: check the path, or'),
    ],
)
def test_weights_that_cannot_serve_are_told_before_photos_are_looked_at(
    tool, photos, tmp_path, capsys, option, name, message
):
    assert message in refused(tool, photos, '--out', tmp_path / 'run', option, name)
    assert 'photos' not in capsys.readouterr().out


def test_a_folder_of_something_else_is_left_alone(tool, photos, tmp_path):
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / 'thesis.txt').write_text('years of work')
    assert 'is no run of this command' in refused(tool, photos, '--out', tmp_path / 'run')
    assert [path.name for path in (tmp_path / 'run').iterdir()] == ['thesis.txt']


def test_a_run_of_other_arguments_is_not_mixed_with_this(tool, photos, tmp_path):
    out = tmp_path / 'run'
    out.mkdir()
    import own_run

    first = tool.parse_args([str(photos), '--out', str(out), '--seed', '1'])
    (out / own_run.ASKED).write_text(json.dumps(own_run.asked_for(first)))
    (out / own_run.PLAN).write_text('{}')
    assert 'with seed 1, asked for is 2' in refused(tool, photos, '--out', out, '--seed', 2)


@pytest.mark.parametrize(
    ('option', 'value', 'allowed'),
    [
        ('--hours', '0', 'above 0'),
        ('--hours', 'nan', 'above 0'),
        ('--hours', 'inf', 'above 0, below 8,766'),
        ('--seed', '-1', '0 to 4294967295'),
        ('--seed', str(2**32), '0 to 4294967295'),
    ],
)
def test_numbers_out_of_range(tool, photos, tmp_path, option, value, allowed, capsys):
    with pytest.raises(SystemExit, match='2'):
        tool.parse_args([str(photos), '--out', str(tmp_path / 'run'), option, value])
    assert f'allowed: {allowed}' in capsys.readouterr().err


def test_photos_of_which_none_can_be_read(tool, photos, tmp_path, capsys):
    """Nothing can be said of their sizes."""
    for path in photos.iterdir():
        path.write_bytes(b'no image')
    assert '120 of 120 files' in refused(tool, photos, '--out', tmp_path / 'run')
    assert '0 photos; 120 cannot be read, such as 0.png' in capsys.readouterr().out
    said = refused(tool, photos, '--out', tmp_path / 'other', '--value-range', 5, 1)
    assert said.startswith('value_range is [5.0, 1.0], but must be')


def test_a_run_within_its_photos(tool, photos, tmp_path):
    """The pictures of the first would be photos of the second."""
    said = refused(tool, photos, '--out', photos / 'run')
    assert f'--out {photos / "run"} lies in the folder of photos {photos}' in said
    assert not (photos / 'run').exists()


def test_two_processes_at_one_run(tool, photos, tmp_path):
    import own_run

    from mmbeitv2.checkpoints.turns import alone

    (tmp_path / 'run').mkdir()
    with alone(tmp_path / 'run' / own_run.LOCK):
        # As one that has come so far as to have noted its command.
        args = tool.parse_args([str(photos), '--out', str(tmp_path / 'run')])
        (tmp_path / 'run' / own_run.ASKED).write_text(json.dumps(own_run.asked_for(args)))
        assert 'another process is at this work' in refused(tool, photos, '--out', tmp_path / 'run')
    assert not (tmp_path / 'run' / own_run.LOCK).exists()


def test_a_run_goes_on_from_another_folder(tool, photos, tmp_path, monkeypatch):
    """Paths are the same however they are written; the files of a teacher's config too."""
    import own_run
    from own_teachers import teacher_config

    for name in ('teacher.pth', 'labels.csv', 'tokenizer.pth'):
        (tmp_path / name).write_text('')

    def asked(where, below):
        monkeypatch.chdir(where)
        options = ['--labels', f'{below}labels.csv', '--from', f'{below}tokenizer.pth']
        teacher = ['--teacher', f'dino@{below}teacher.pth']
        photos = [f'{below}photos', '--out', f'{below}run']
        return own_run.asked_for(tool.parse_args([*photos, *options, *teacher]))

    there = asked(tmp_path, '')
    assert there == asked(photos, '../')
    assert there['labels'] == str(tmp_path / 'labels.csv')
    assert teacher_config('dino@../teacher.pth', 'cpu')['checkpoint'] == str(
        tmp_path / 'teacher.pth'
    )
    assert teacher_config(None, 'cpu')['checkpoint'].startswith('package://')
    assert own_run.asked_for(tool.parse_args(['.', '--out', 'run', '--labels']))['labels'] == (
        'folders'
    )


def judged_by(tool, photos, labels):
    from own_labels import labelled_photos

    from mmbeitv2.datasets.survey import survey

    return labelled_photos(labels, survey(photos), survey)


@pytest.mark.parametrize(
    ('table', 'message'),
    [
        ('0.png,a\n1.png\n', 'line 2 of .* has no label'),
        ('0.png,a\nabsent.png,b\n', 'labels 1 of its 2 photos that are not in .*absent.png'),
        ('photo,class\n0.png,a\n1.png,a\n', r'names 1 classes \(a\) .* needed: 2 or more'),
        ('0.png,a\n1.png,a\n2.png,b\n', "one photo of the class 'b', needed: 2 or more"),
    ],
)
def test_labels_that_judge_nothing(tool, photos, tmp_path, table, message):
    (tmp_path / 'labels.csv').write_text(table)
    with pytest.raises((ValueError, OSError), match=message):
        judged_by(tool, photos, str(tmp_path / 'labels.csv'))


def test_labels_come_from_a_table_other_folders_or_the_photos_own(tool, photos, tmp_path):
    from own_labels import put_labelled

    (photos / '5.png').write_bytes(b'no image')
    rows = [f'{i}.png,{"even" if i % 2 == 0 else "odd"}' for i in range(6)]
    (tmp_path / 'labels.csv').write_text('photo,class\n' + '\n'.join(rows))
    found = judged_by(tool, photos, str(tmp_path / 'labels.csv'))
    # What cannot be read is passed over.
    assert {name: len(paths) for name, paths in found.items()} == dict(even=3, odd=2)
    put_labelled(found, tmp_path / 'linked')
    again = judged_by(tool, photos, str(tmp_path / 'linked'))
    assert {k: len(v) for k, v in again.items()} == dict(even=3, odd=2)
    assert judged_by(tool, tmp_path / 'linked', 'folders').keys() == {'even', 'odd'}


def test_labels_may_be_those_of_a_saved_data_set(tool, photos, tmp_path, monkeypatch):
    datasets = pytest.importorskip('datasets')
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    files = [dict(bytes=(photos / f'{i}.png').read_bytes(), path=None) for i in range(4)]
    named = datasets.ClassLabel(names=['even', 'odd'])
    features = datasets.Features(dict(image=datasets.Image(), parity=named))
    columns = dict(image=files, parity=[0, 1, 0, 1])
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / 'saved')
    found = judged_by(tool, photos, str(tmp_path / 'saved'))
    assert {name: len(paths) for name, paths in found.items()} == dict(even=2, odd=2)
    assert all('://' in path for paths in found.values() for path in paths)


def test_labelled_photos_of_another_folder_that_are_cut_off_are_found_before_the_run(
    tool, photos, tmp_path, capsys
):
    for name, numbers in dict(even=range(0, 10, 2), odd=range(1, 10, 2)).items():
        for number in numbers:
            file = tmp_path / 'given' / name / f'{number}.png'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes((photos / file.name).read_bytes())
    file = tmp_path / 'given/even/4.png'
    file.write_bytes(file.read_bytes()[:-100])
    found = judged_by(tool, photos, str(tmp_path / 'given'))
    assert {name: len(paths) for name, paths in found.items()} == dict(even=4, odd=5)
    assert '1 cannot be read, such as even/4.png (' in capsys.readouterr().out


def test_a_class_of_which_no_photo_can_be_read_is_named(tool, photos, tmp_path):
    """It would be left out of the judgement without a word."""
    rows = [f'{i}.png,{("even", "odd", "last")[i % 2 if i < 118 else 2]}' for i in range(120)]
    (tmp_path / 'labels.csv').write_text('\n'.join(rows))
    for i in range(120):
        file = tmp_path / 'given' / rows[i].partition(',')[2] / f'{i}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / f'{i}.png', file)
    for path in (*photos.glob('11[89].png'), *(tmp_path / 'given/last').iterdir()):
        path.write_bytes(b'no image')
    for labels in ('labels.csv', 'given'):
        with pytest.raises(OSError, match="no photo of the class 'last' can be read: restore"):
            judged_by(tool, photos, str(tmp_path / labels))


def test_labelled_photos_of_which_many_cannot_be_read(tool, photos, tmp_path):
    """As those that are trained on: something is wrong with the folder."""
    for name in ('even', 'odd'):
        shutil.copytree(photos, tmp_path / 'given' / name)
    for path in sorted((tmp_path / 'given/odd').iterdir())[:30]:
        path.write_bytes(b'no image')
    with pytest.raises(ValueError, match=r'30 of 240 files of .*given cannot be read, allowed: 10'):
        judged_by(tool, photos, str(tmp_path / 'given'))


def test_a_class_folder_without_a_photo_is_named(tool, photos, tmp_path):
    for name in ('even', 'odd'):
        shutil.copytree(photos, tmp_path / 'given' / name)
    (tmp_path / 'given/none').mkdir()
    with pytest.raises(ValueError, match=r"has 1 class folders without a photo \('none'\)"):
        judged_by(tool, photos, str(tmp_path / 'given'))
    with pytest.raises(ValueError, match=r"has 1 class folders without a photo \('none'\)"):
        judged_by(tool, tmp_path / 'given', 'folders')
    # A list does not speak of the folders beside those that it names.
    names = (f'{name}/{i}.png' for name in ('even', 'odd') for i in range(2))
    (tmp_path / 'given/list.txt').write_text('\n'.join(names))
    found = judged_by(tool, tmp_path / 'given/list.txt', 'folders')
    assert {name: len(paths) for name, paths in found.items()} == dict(even=2, odd=2)


@pytest.mark.parametrize(
    ('smallest', 'shots'), [(2, [1]), (3, [1]), (8, [1, 2]), (40, [1, 2, 5, 10, 20])]
)
def test_half_of_every_class_is_left_to_be_asked_about(tool, tmp_path, smallest, shots):
    """The report's sentence names the most labels, which every class is to have."""
    import own_run

    for name, count in dict(cat=smallest, dog=250).items():
        (tmp_path / name).mkdir()
        for number in range(count):
            (tmp_path / name / f'{number}.png').touch()
    assert own_run.shots_of(tmp_path) == shots


@pytest.fixture
def tars(photos, tmp_path):
    """The same photos in two tars."""
    files = sorted(photos.iterdir())
    for number in range(2):
        with tarfile.open(tmp_path / f'{number:03d}.tar', 'w') as tar:
            for file in files[number::2]:
                tar.add(file, f'some photos/{file.name}')
    return sorted(tmp_path.glob('*.tar'))


def test_several_sources_are_noted_and_named(tool, tars, tmp_path):
    import own_run

    from mmbeitv2.reports.own_progress import title_of

    args = tool.parse_args([*map(str, tars), '--out', str(tmp_path / 'run')])
    asked = own_run.asked_for(args)
    assert asked['photos'] == [str(tar) for tar in tars]
    (tmp_path / 'run').mkdir()
    (tmp_path / 'run' / own_run.ASKED).write_text(json.dumps(asked))
    assert title_of(tmp_path / 'run') == 'BEiT v2 on 000.tar and 1 more'
    alone = tool.parse_args([str(tars[0]), '--out', str(tmp_path / 'run')])
    assert own_run.asked_for(alone)['photos'] == str(tars[0])


@pytest.mark.parametrize('labels', ['folders', 'labels.csv'])
def test_photos_in_tars_are_judged_by_other_folders(tool, tars, labels):
    with pytest.raises(ValueError, match=r'needs photos that lie in one folder.* give another'):
        judged_by(tool, tars, labels)


def add_labels(tars, label_of):
    """Add a .cls member beside each photo that has a label."""
    for path in tars:
        with tarfile.open(path, 'a') as tar:
            for name in tar.getnames():
                label = label_of(int(Path(name).stem))
                if label is not None:
                    member = tarfile.TarInfo(f'{name.removesuffix(".png")}.cls')
                    member.size = len(str(label))
                    tar.addfile(member, io.BytesIO(str(label).encode()))
    return tars


def judging(tool, photos, *options):
    from own_labels import labels_to_judge_by

    from mmbeitv2.datasets.survey import survey

    photos = photos if isinstance(photos, list) else [photos]
    args = tool.parse_args([*map(str, photos), '--out', 'run', *map(str, options)])
    return labels_to_judge_by(args, survey(args.photos), survey)


def test_labels_that_tars_bring_judge_without_being_asked_for(tool, tars, tmp_path):
    """Copies of the photos, since they lie in no folder; those without a label judge nothing."""
    from own_labels import put_labelled

    found = judging(tool, add_labels(tars, lambda i: i % 3 if i < 90 else None))
    assert {name: len(paths) for name, paths in found.by_class.items()} == {
        '0': 30,
        '1': 30,
        '2': 30,
    }
    assert found.shown == 'the .cls members of the photos'
    (tmp_path / 'judged' / 'stale').mkdir(parents=True)
    put_labelled(found.by_class, tmp_path / 'judged')
    assert sorted(path.name for path in (tmp_path / 'judged').iterdir()) == ['0', '1', '2']
    (photo, *_) = sorted((tmp_path / 'judged/1').iterdir())
    with tarfile.open(tars[0]) as tar:
        kept = {tar.extractfile(name).read() for name in tar.getnames() if name.endswith('.png')}
    assert photo.suffix == '.png'
    assert photo.read_bytes() in kept


def test_given_labels_win_over_those_that_tars_bring(tool, tars, photos, tmp_path):
    for name, numbers in (('few', range(4)), ('other', range(4, 9))):
        (tmp_path / 'given' / name).mkdir(parents=True)
        for i in numbers:
            shutil.copy(photos / f'{i}.png', tmp_path / 'given' / name)
    add_labels(tars, lambda i: i % 3)
    found = judging(tool, tars, '--labels', tmp_path / 'given')
    assert {name: len(paths) for name, paths in found.by_class.items()} == dict(few=4, other=5)
    assert set(judging(tool, tars, '--labels').by_class) == {'0', '1', '2'}


def test_many_labels_that_photos_bring_are_drawn_from(tool, tars, monkeypatch):
    """As many of each class."""
    import own_labels

    monkeypatch.setattr(own_labels, 'MOST_COPIED', 30)
    monkeypatch.setattr(own_labels, 'MOST_OF_A_CLASS', 5)
    found = judging(tool, add_labels(tars, lambda i: int(i > 100)))
    assert {name: len(paths) for name, paths in found.by_class.items()} == {'0': 15, '1': 15}


def test_labels_that_judge_nothing_are_no_error_unless_asked_for(tool, tars):
    add_labels(tars, lambda i: 7)
    assert judging(tool, tars) == 'none: of the .cls members 1 classes have 2 photos'
    with pytest.raises(ValueError, match=r'--labels folders names 1 classes \(7\)'):
        judging(tool, tars, '--labels')


def test_a_class_within_tars_of_which_no_photo_can_be_read_is_named(tool, photos, request):
    for i in range(3):
        (photos / f'{i}.png').write_bytes(b'no image')
    tars = add_labels(request.getfixturevalue('tars'), lambda i: 7 if i < 3 else i % 2)
    with pytest.raises(OSError, match="no photo of the class '7' can be read"):
        judging(tool, tars, '--labels')
    assert set(judging(tool, tars).by_class) == {'0', '1'}


def test_without_labels_the_plan_says_how_to_give_some(tool, photos, tmp_path):
    assert judging(tool, photos) == 'none: --labels gives some to judge by'
    files = sorted(photos.iterdir())
    for number, name in enumerate(('even', 'odd')):
        (photos / name).mkdir()
        for path in files[number::2]:
            path.rename(photos / name / path.name)
    said = judging(tool, photos)
    assert said == 'none: --labels alone takes the 2 folders of the photos as classes'


def test_what_is_no_source_is_told_before_anything_is_written(tool, tars, tmp_path):
    tars[0].write_bytes(tars[0].read_bytes()[:5000])
    out = tmp_path / 'run'
    assert 'is truncated' in refused(tool, *tars, '--out', out)
    assert 'is no folder and no file' in refused(tool, tmp_path / 'absent', '--out', out)
    assert not list(out.glob('*.py'))


@pytest.mark.slow
def test_a_plan_for_tars_is_of_configs_that_train_on_them(tars, tmp_path):
    """A few steps of both stages are timed, which read photos within the tars."""
    command = [sys.executable, str(ROOT / 'tools/pretrain.py'), *(tar.name for tar in tars)]
    result = subprocess.run(
        [*command, '--out', 'run', '--image-size', '64', '--plan'],
        cwd=tmp_path,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    plan = json.loads((tmp_path / 'run/plan.json').read_text())
    assert plan['photos'] + plan['held_out'] == 120
    lists = [(tmp_path / f'run/{name}.txt').read_text() for name in ('train', 'held_out')]
    lines = ''.join(lists).splitlines()
    assert len(set(lines)) == 120
    assert all(line.startswith(f'tar://{tmp_path}/00') for line in lines)


def test_labels_and_photos_that_have_changed_are_noticed_where_a_run_goes_on(
    tool, photos, tmp_path, capsys
):
    out, table = tmp_path / 'run', tmp_path / 'labels.csv'

    def label(even, odd):
        rows = [f'{i}.png,{even if i % 2 == 0 else odd}' for i in range(40)]
        table.write_text('\n'.join(rows))

    def plan():
        tool.main([str(photos), '--out', str(out), '--labels', str(table), '--plan'])
        return [line for line in capsys.readouterr().out.splitlines() if line.startswith('note: ')]

    def of_zero():
        (found,) = (link for link in out.glob('labelled/*/*') if link.resolve().name == '0.png')
        return found.parent.name

    label('a', 'b')
    assert plan() == []
    assert of_zero() == 'a'
    (out / 'few_shot').mkdir()
    assert plan() == []
    assert (out / 'few_shot').is_dir()
    label('b', 'a')
    assert plan() == ['note: the labels have changed since, and are asked about anew']
    assert of_zero() == 'b'
    # Answers about the labels before.
    assert not (out / 'few_shot').exists()
    # Killed after the labels before were removed.
    label('a', 'b')
    shutil.rmtree(out / 'labelled')
    assert plan() == ['note: the labels have changed since, and are asked about anew']
    assert of_zero() == 'a'
    (photos / '60.png').write_bytes((photos / '61.png').read_bytes())
    assert [line[:41] for line in plan()] == ['note: photos of the plan have changed sin']
    (photos / '60.png').rename(photos / 'new.png')
    (noted, *_) = plan()
    assert 'this run goes on with' in noted


@pytest.mark.parametrize(
    'said',
    [
        "the weights of the teacher model='dino' could not be downloaded: no network",
        "the weights 'openai' of the CLIP teacher 'ViT-B-16' could not be downloaded: no network",
    ],
)
def test_weights_that_a_teacher_lacks_are_given_by_this_commands_option(tool, said):
    import own_settling

    printed = own_settling.what_failed(f'a warning\nerror: {said}\n')
    assert printed == f'error: {said} (here: --teacher NAME@FILE)\n'
    assert own_settling.what_failed('a traceback\nKeyError: 1\n') == 'a traceback\nKeyError: 1\n'


def test_the_hub_is_asked_as_its_own_client_asks_it(tool, monkeypatch):
    """Behind a proxy it answers where no direct connection can be made."""
    import own_teachers
    from huggingface_hub import constants

    monkeypatch.delenv('HF_HUB_OFFLINE', raising=False)
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f'http://127.0.0.1:{server.server_port}'
        monkeypatch.setattr(constants, 'ENDPOINT', place)
        assert own_teachers.offline.__wrapped__() == {}
        server.shutdown()
    # Nobody listens there any more.
    assert own_teachers.offline.__wrapped__() == dict(HF_HUB_OFFLINE='1')


@pytest.mark.parametrize(('stage', 'kept'), [('pretraining', False), ('report', True)])
def test_a_report_stays_in_the_place_of_the_page_of_the_run(
    tool, tmp_path, monkeypatch, stage, kept
):
    """It is there before the process that wrote it has ended, and that may take a while."""
    import own_run

    from mmbeitv2.launch.jobs import ToolJob

    (tmp_path / 'plan.json').write_text(json.dumps(dict(tokenizer=None, pretraining=None)))
    (tmp_path / 'asked.json').write_text(json.dumps(dict(photos='photos')))
    watch = own_run.Watch(tmp_path, ToolJob(tmp_path / stage, 1, None, ()))
    (tmp_path / 'report.html').write_text('the report')
    monkeypatch.setattr(own_run, 'SECONDS_BETWEEN_PAGES', -1)
    watch()
    assert ((tmp_path / 'report.html').read_text() == 'the report') == kept


@pytest.mark.slow
def test_from_photos_to_a_page(photos, tmp_path):
    """The whole command, from another folder, and once more: nothing is trained again."""
    # Photos of numbers from 0 to 1 among them, labelled ones too, need the range in every stage.
    for i in range(0, 120, 8):
        grey = np.asarray(Image.open(photos / f'{i}.png').convert('L'), np.float32) / 255
        (photos / f'{i}.png').unlink()
        Image.fromarray(grey).save(photos / f'{i}.tif')
    rows = [
        f'{i}.{"tif" if i % 8 == 0 else "png"},{"even" if i % 2 == 0 else "odd"}' for i in range(40)
    ]
    (tmp_path / 'labels.csv').write_text('\n'.join(row for row in rows))
    command = [sys.executable, str(ROOT / 'tools/pretrain.py'), 'photos', '--out', 'run']
    command += ['--labels', 'labels.csv', '--image-size', '64']
    command += ['--value-range', '0', '1']
    for repeated in (False, True):
        result = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr[-3000:]
        assert ('finished before' in result.stdout) == repeated
    plan = json.loads((tmp_path / 'run/plan.json').read_text())
    assert plan['num_codes'] == 128
    assert {'train.txt', 'held_out.txt', 'tokenizer.py', 'pretraining.py'} <= {
        path.name for path in (tmp_path / 'run').iterdir()
    }
    page = (tmp_path / 'run/report.html').read_text()
    assert 'What a few labels are worth' in page
    assert 'get their right code' in page

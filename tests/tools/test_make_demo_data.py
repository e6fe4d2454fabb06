"""The demo data: layout, exact masks, reproducibility, and what it refuses to do."""

import csv
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
from collections import Counter
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
ASSETS = ROOT / 'demo' / 'assets'
SCRIPT = ROOT / 'tools' / 'make_demo_data.py'
SMALL = {'image_size': 64, 'train': 24, 'seg_train': 12, 'val': 8}
SETS = {
    'imagenet/train': 24,
    'imagenet/val': 8,
    'imagenet/val_unseen': 8,
    'ade/images/training': 12,
    'ade/images/validation': 8,
    'ade/images/validation_unseen': 8,
    'ade/annotations/training': 12,
    'ade/annotations/validation': 8,
    'ade/annotations/validation_unseen': 8,
}


@pytest.fixture(scope='module')
def demo():
    sys.path.insert(0, str(SCRIPT.parent))
    try:
        import demo_data
    finally:
        sys.path.remove(str(SCRIPT.parent))
    return demo_data


@pytest.fixture(scope='module')
def data(demo, tmp_path_factory):
    out = tmp_path_factory.mktemp('demo_data') / 'demo'
    assert demo.make_demo_data(out, ASSETS, **SMALL)
    return out


def run_script(out, *args, script=SCRIPT, **options):
    sizes = [f'--{name.replace("_", "-")}={value}' for name, value in SMALL.items()]
    return subprocess.run(
        [sys.executable, str(script), f'--out={out}', f'--assets={ASSETS}', *sizes, *args],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob('*')
        if path.is_file()
    }


def sources(data):
    with (data / 'sources.csv').open(newline='') as file:
        rows = list(csv.reader(file))[1:]
    return [(picture, background, stamps.split()) for picture, background, stamps in rows]


def square_stamp(colour, size=40):
    return Image.new('RGBA', (size, size), (*colour, 255))


def test_every_set_has_the_asked_number_of_readable_pictures(data):
    for name, count in SETS.items():
        files = [path for path in (data / name).rglob('*') if path.is_file()]
        assert len(files) == count, name
        assert {Image.open(path).size for path in files} == {(64, 64)}
    assert json.loads((data / 'demo_data.json').read_text())['counts'] == SETS


@pytest.mark.parametrize('split', ['train', 'val', 'val_unseen'])
def test_class_folders_are_balanced_and_hold_one_object_of_their_class(demo, data, split):
    pictures = [row for row in sources(data) if row[0].startswith(f'imagenet/{split}/')]
    classes = Counter(picture.split('/')[2] for picture, _, _ in pictures)

    assert classes == dict.fromkeys(demo.CLASSES, SETS[f'imagenet/{split}'] // 8)
    for picture, _, stamps in pictures:
        assert [stamp.split('/')[0] for stamp in stamps] == [picture.split('/')[2]]


@pytest.mark.parametrize('split', ['training', 'validation', 'validation_unseen'])
def test_annotations_hold_the_background_and_the_classes_of_the_objects(demo, data, split):
    for picture, _, stamps in sources(data):
        if not picture.startswith(f'ade/images/{split}/'):
            continue
        path = data / picture.replace('/images/', '/annotations/').replace('.jpg', '.png')
        annotation = Image.open(path)
        values = set(np.unique(np.asarray(annotation)).tolist()) - {0}
        wanted = {demo.SEG_CLASSES.index(stamp.split('/')[0]) + 1 for stamp in stamps}

        assert annotation.mode == 'L'
        assert 1 <= len(stamps) <= 3
        assert values == {1} | wanted


def test_splits_share_no_cutout_and_no_background(demo, data):
    used = {'train': (set(), set()), 'val_unseen': (set(), set())}
    for picture, background, stamps in sources(data):
        split = picture.split('/')[1 if picture.startswith('imagenet') else 2]
        for name, aliases in (
            ('train', ('train', 'training')),
            ('val_unseen', ('val_unseen', 'validation_unseen')),
        ):
            if split in aliases:
                used[name][0].update(stamps)
                used[name][1].add(background)
        if split in ('val', 'validation'):
            assert (ASSETS / 'backgrounds' / 'val' / f'{background}.jpg').is_file()
            assert all(
                (ASSETS / 'stamps' / 'train' / f'{stamp}.webp').is_file() for stamp in stamps
            )
    for kind in (0, 1):
        assert not used['train'][kind] & used['val_unseen'][kind]

    assets = demo.find_assets(ASSETS)
    digests = {
        split: {
            sha256(path.read_bytes()).hexdigest()
            for path in (
                *assets.backgrounds[split],
                *(path for paths in assets.stamps[split].values() for path in paths),
            )
        }
        for split in ('train', 'val')
    }
    assert not digests['train'] & digests['val']


@pytest.mark.parametrize('start_method', multiprocessing.get_all_start_methods())
def test_files_do_not_depend_on_the_workers(data, tmp_path, start_method):
    # Python imports this module before the script, which takes the platform's start method.
    (tmp_path / 'sitecustomize.py').write_text(
        f'import multiprocessing\nmultiprocessing.set_start_method({start_method!r}, force=True)\n'
    )
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    result = run_script(tmp_path / 'demo', '--workers=2', env=environment)

    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / 'demo') == contents(data)


def test_script_runs_from_the_folder_that_a_wheel_installs(data, tmp_path):
    tools = tmp_path / 'mmbeitv2' / '.mim' / 'tools'
    shutil.copytree(SCRIPT.parent, tools)
    result = run_script('demo', script=tools / SCRIPT.name, cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    assert contents(tmp_path / 'demo') == contents(data)


def test_another_seed_gives_other_pictures(demo, data, tmp_path):
    demo.make_demo_data(tmp_path / 'demo', ASSETS, **SMALL, seed=1)
    other, first = contents(tmp_path / 'demo'), contents(data)

    assert other.keys() == first.keys()
    assert all(other[name] != first[name] for name in first if name.endswith('.jpg'))


def test_mask_is_exact_where_objects_hide_one_another(demo):
    """Flat colours on black make every pixel show which class it belongs to."""
    colours = {'bird': (200, 0, 0), 'fish': (0, 200, 0)}
    # The same class in front and behind: an object must win over an earlier and a later class.
    objects = [(square_stamp(colours[name]), name) for name in ('bird', 'fish', 'bird')]
    # Brightness varies between 0.8 and 1.2, and a labelled class makes up 0.9 or more of a pixel.
    lowest, highest = 200 * 0.8 * 0.9 - 1, 200 * 1.2 * 0.1 + 1
    for seed in range(20):
        picture, annotation = demo.compose(
            Image.new('RGB', (80, 80)), objects, 64, np.random.default_rng(seed)
        )
        pixels, labels = np.asarray(picture), np.asarray(annotation)
        bird, fish = (labels == demo.SEG_CLASSES.index(name) + 1 for name in colours)

        assert bird.any()
        assert fish.any()
        assert (pixels[bird][:, 0] >= lowest).all()
        assert (pixels[bird][:, 1] <= highest).all()
        assert (pixels[fish][:, 1] >= lowest).all()
        assert (pixels[fish][:, 0] <= highest).all()
        assert (pixels[labels == 1] <= highest).all()


def test_half_transparent_pixels_are_unlabelled(demo):
    stamp = Image.new('RGBA', (40, 40), (255, 255, 255, 128))
    _, annotation = demo.compose(
        Image.new('RGB', (80, 80)), [(stamp, 'bird')], 64, np.random.default_rng(0)
    )

    assert set(np.unique(np.asarray(annotation))) == {0, 1}


def test_object_of_a_single_object_picture_is_large_and_whole(demo):
    for seed in range(20):
        _, annotation = demo.compose(
            Image.new('RGB', (80, 80)),
            [(square_stamp((255, 255, 255)), 'bird')],
            100,
            np.random.default_rng(seed),
        )
        rows, columns = np.nonzero(np.asarray(annotation) != 1)
        longest = max(np.ptp(rows), np.ptp(columns)) + 1

        # 0.75 of the 100 pixels, less the soft edges that a rotation gives.
        assert longest >= 71


@pytest.mark.parametrize(
    ('count', 'name', 'message'), [(0, 'bird', '1 to 3'), (4, 'bird', '1 to 3'), (1, 'cat', 'cat')]
)
def test_compose_refuses_other_counts_and_classes(demo, count, name, message):
    objects = [(square_stamp((255, 0, 0)), name)] * count

    with pytest.raises(ValueError, match=message):
        demo.compose(Image.new('RGB', (80, 80)), objects, 64, np.random.default_rng(0))


def test_second_call_does_nothing(data):
    before = {path: path.stat().st_mtime_ns for path in data.rglob('*')}
    result = run_script(data)

    assert result.returncode == 0, result.stderr
    assert 'nothing to do' in result.stdout
    assert {path: path.stat().st_mtime_ns for path in data.rglob('*')} == before


def test_other_parameters_are_refused_unless_overwrite_is_given(demo, tmp_path):
    out = tmp_path / 'demo'
    demo.make_demo_data(out, ASSETS, **SMALL)
    before = contents(out)

    with pytest.raises(demo.DemoDataError, match=r'seed 0 → 1.*--overwrite.*--out'):
        demo.make_demo_data(out, ASSETS, **SMALL, seed=1)
    assert contents(out) == before

    assert demo.make_demo_data(out, ASSETS, **SMALL, seed=1, overwrite=True)
    assert contents(out) != before
    assert [path.name for path in tmp_path.iterdir()] == ['demo']


def test_missing_pictures_are_noticed(demo, tmp_path):
    out = tmp_path / 'demo'
    demo.make_demo_data(out, ASSETS, **SMALL)
    next((out / 'ade' / 'annotations' / 'training').iterdir()).unlink()

    with pytest.raises(demo.DemoDataError, match='incomplete'):
        demo.make_demo_data(out, ASSETS, **SMALL)


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_folder_of_someone_else_is_never_touched(demo, tmp_path, overwrite):
    (tmp_path / 'thesis.txt').write_text('precious')

    with pytest.raises(demo.DemoDataError, match='not made by this script'):
        demo.make_demo_data(tmp_path, ASSETS, **SMALL, overwrite=overwrite)
    assert contents(tmp_path).keys() == {'thesis.txt'}


def test_a_failed_run_leaves_nothing_behind(demo, tmp_path):
    broken = tmp_path / 'assets'
    for split in ('train', 'val'):
        for name in demo.CLASSES:
            folder = broken / 'stamps' / split / name
            folder.mkdir(parents=True)
            (folder / 'broken.webp').write_bytes(b'not a picture')
        folder = broken / 'backgrounds' / split
        folder.mkdir(parents=True)
        Image.new('RGB', (80, 80)).save(folder / 'black.jpg')
    out = tmp_path / 'out' / 'demo'

    with pytest.raises(demo.DemoDataError, match=r'cannot read .*broken\.webp'):
        demo.make_demo_data(out, broken, **SMALL)
    assert list(out.parent.iterdir()) == []


def test_missing_assets_are_named_with_the_cure(tmp_path):
    result = run_script(tmp_path / 'demo', f'--assets={tmp_path / "nowhere"}')

    assert result.returncode != 0
    assert str(tmp_path / 'nowhere') in result.stderr
    assert '--assets' in result.stderr
    assert 'Traceback' not in result.stderr


@pytest.mark.parametrize(
    ('name', 'value'), [('image_size', 16), ('train', 7), ('val', 0), ('seed', -1), ('workers', 0)]
)
def test_parameters_out_of_range_are_refused(demo, tmp_path, name, value):
    option = name.replace('_', '-')

    with pytest.raises(demo.DemoDataError, match=f'--{option} {value} .*at least'):
        demo.make_demo_data(tmp_path / 'demo', ASSETS, **(SMALL | {name: value}))

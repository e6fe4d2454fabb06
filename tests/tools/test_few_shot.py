"""The tool that asks what a few labels are worth, on a tiny model and real photos."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from photo_files import write_classes, write_photo

from mmbeitv2.datasets.photo_folder import FOLDERS, labels_of
from mmbeitv2.launch.config import load_config
from mmbeitv2.models.teachers.view import build_teacher
from mmbeitv2.registry import MODELS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import few_shot

    return few_shot


@pytest.fixture
def run(tool, checkpoint, demo_data, tmp_path, capsys, monkeypatch):
    import frozen_networks

    # Four heads, which the tensors do not show.
    load = frozen_networks.load_pretrained
    monkeypatch.setattr(frozen_networks, 'load_pretrained', lambda path: load(path, num_heads=4))

    def run(*arguments, folders=('imagenet/train',)):
        result = tmp_path / 'result.json'
        options = ['--shots', '1', '3', '--draws', '4', '--json', str(result)]
        asked = [str(demo_data / folder) for folder in folders]
        tool.main([str(checkpoint), *asked, *options, *arguments])
        return json.loads(result.read_text()), capsys.readouterr().out

    return run


def test_one_question_where_it_is_not_known_what_photos_show(run):
    results, printed = run()
    assert list(results) == ['other photos']
    found = results['other photos']
    assert found['classes'] == 8
    names = [
        f'{w}, {f}' for w in ('pretrained', 'random weights') for f in ('[CLS]', 'mean of patches')
    ]
    others = ['mean colours, 4 × 4', 'codes, mean of their vectors']
    assert list(found['features']) == [*names, *others]
    draws = np.array([list(by.values()) for by in found['features'].values()])
    assert draws.shape == (6, 2, 4)
    assert ((draws >= 0) & (draws <= 1)).all()
    first = found['features']['pretrained, [CLS]']['3']
    assert f'{100 * np.mean(first):.1f} ±' in printed


def test_codes_are_known_by_their_vectors(tool, beitv2):
    """What pretraining is asked for: the codebook's vector of each patch's code, averaged."""
    from frozen_networks import PRETRAINED, Networks

    found = Networks({PRETRAINED: beitv2.eval()})
    size = beitv2.backbone.img_size[0]
    pixels = torch.randint(0, 256, (2, 3, size, size), dtype=torch.uint8)
    tokenizer = beitv2.target_generator
    codes = tokenizer.tokenize(pixels / 127.5 - 1)
    expected = torch.stack([tokenizer.quantize.codebook[c.flatten()].mean(0) for c in codes])
    torch.testing.assert_close(dict(tool._features(found, pixels))[tool.CODES], expected)
    beitv2.target_generator = None
    assert tool.CODES not in dict(tool._features(found, pixels))


def test_groups_ask_about_other_things_and_name_classes_with_one(run, demo_data):
    results, printed = run('--groups', str(demo_data / 'sources.csv'))
    assert list(results) == ['other photos', 'photos of other things']
    classes = results['photos of other things']['classes']
    assert 2 <= classes <= 8
    assert ('left out' in printed) == (classes < 8)


@pytest.mark.parametrize('train', [False, True])
def test_photos_that_are_cut_off_are_left_out_and_named(
    tool, checkpoint, tmp_path, capsys, monkeypatch, train
):
    import frozen_networks

    load = frozen_networks.load_pretrained
    monkeypatch.setattr(frozen_networks, 'load_pretrained', lambda path: load(path, num_heads=4))
    folder = write_classes(tmp_path / 'photos', 'cat', 'dog')
    arguments = [str(checkpoint), str(folder), '--shots', '1', '--draws', '2']
    arguments += ['--train', str(write_classes(tmp_path / 'train', 'cat', 'dog'))] if train else []
    tool.main(arguments)
    expected = capsys.readouterr().out
    for number in range(2):
        cut = write_photo(folder / 'cat' / f'-{number}.jpg', size=(64, 64))
        cut.write_bytes(cut.read_bytes()[:700])
    with pytest.raises(SystemExit, match='2'):
        tool.main(arguments)
    assert 'photos cannot be read so far, borne are 1' in capsys.readouterr().err
    tool.main([*arguments, '--max-unreadable', '0.4'])
    printed = capsys.readouterr().out
    assert '2 of 6 photos cannot be read and are left out: ' in printed
    assert printed.endswith(expected)
    for photo in (folder / 'cat').iterdir():
        photo.write_bytes(b'no image')
    with pytest.raises(SystemExit, match='2'):
        tool.main([*arguments, '--max-unreadable', '1'])
    assert "no photo of the class 'cat' can be read" in capsys.readouterr().err
    for photo in (folder / 'dog').iterdir():
        photo.write_bytes(b'no image')
    with pytest.raises(SystemExit, match='2'):
        tool.main([*arguments, '--max-unreadable', '1'])
    assert 'none of 6 photos can be read, the first are ' in capsys.readouterr().err


def test_a_teacher_sees_what_its_config_shows_it(tool, beitv2, demo_data, timm_teacher_config):
    paths = sorted((demo_data / 'imagenet/train').glob('*/*'))[:2]
    photos = tool.Photos([str(path) for path in paths], ['one', 'other'], None)

    def features(**view):
        model = dict(encoder=dict(in_chans=3), teacher={**timm_teacher_config, **view})
        teacher = build_teacher(model['teacher'], 3)
        return tool.features_of(photos, Networks({PRETRAINED: beitv2.eval()}, teacher))[1]

    from frozen_networks import PRETRAINED, TEACHER, Networks

    plain, same, mixed = (
        features(**view)[TEACHER] for view in ({}, dict(view=[0, 1, 2]), dict(view=[2, 1, 0]))
    )
    torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(mixed, plain, rtol=1e-2, atol=1e-2)


def test_random_weights_are_drawn_as_the_config_says(tool, checkpoint, tmp_path, monkeypatch):
    import frozen_networks

    config = ROOT / 'configs/demo/beitv2_demo.py'
    model = {**load_config(config).model, 'target_generator': None}
    monkeypatch.setattr(frozen_networks, 'load_pretrained', lambda path: MODELS.build(model))
    arguments = [str(checkpoint), str(tmp_path), '--config', str(config)]
    args = tool.parse_args(arguments)
    random = tool.networks(args).models['random weights']
    # The demo draws from four times as wide a distribution as the paper, cut at its deviation.
    spread = random.backbone.blocks[0].mlp.fc1.weight.abs().max().item()
    assert spread == pytest.approx(0.08, rel=0.01)
    other = tool.parse_args(
        [str(checkpoint), str(tmp_path), '--config', str(config), '--seed', '1']
    )
    weights = [
        tool.networks(a).models['random weights'].backbone.blocks[0].mlp.fc1.weight
        for a in (args, other)
    ]
    assert torch.equal(weights[0], random.backbone.blocks[0].mlp.fc1.weight)
    assert not torch.equal(*weights)


def test_an_unknown_device_is_one_line_before_anything_is_read(tool, demo_data, capsys):
    with pytest.raises(SystemExit, match='2'):
        tool.main(['none.pth', str(demo_data / 'imagenet/train'), '--device', 'gpu'])
    assert "device is 'gpu'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ('folder', 'message'),
    [
        ('nowhere', 'no folder'),
        ('one', 'has photos of 1 classes, needed are 2'),
        ('loose', "has 1 photos in no class folder ('0.png')"),
        ('empty', "has 1 class folders without a photo ('dog')"),
    ],
)
def test_bad_folders_are_one_line(tool, checkpoint, tmp_path, folder, message, capsys):
    write_classes(tmp_path / 'one', 'cat')
    write_classes(tmp_path / 'loose', 'cat', 'dog')
    write_photo(tmp_path / 'loose/0.png')
    write_classes(tmp_path / 'empty', 'cat', 'owl')
    (tmp_path / 'empty/dog/2021').mkdir(parents=True)
    with pytest.raises(SystemExit, match='2'):
        tool.main([str(checkpoint), str(tmp_path / folder)])
    error = capsys.readouterr().err
    assert message in error
    assert error.count('\n') == 1


def test_photos_in_folders_below_are_of_the_class_folder(tool, tmp_path):
    """As everywhere else: one folder has one meaning."""
    folder = write_classes(tmp_path / 'photos', 'cat', 'dog')
    (folder / 'dog/2021/may').mkdir(parents=True)
    (folder / 'dog/1.png').rename(folder / 'dog/2021/may/1.png')
    photos = tool.find_photos(folder, None)
    assert photos.classes == labels_of(photos.paths, folder, FOLDERS) == ['cat'] * 2 + ['dog'] * 2


def test_a_photo_that_the_groups_lack_is_named(run, tmp_path, capsys):
    table = tmp_path / 'groups.csv'
    table.write_text('photo,shows\na.jpg,a\n')
    with pytest.raises(SystemExit, match='2'):
        run('--groups', str(table))
    assert 'does not say what' in capsys.readouterr().err


def test_labels_of_training_photos_are_asked_about_other_folders(run, demo_data):
    results, printed = run(
        *('--train', str(demo_data / 'imagenet/train')),
        *('--groups', str(demo_data / 'sources.csv')),
        folders=('imagenet/val', 'imagenet/val_unseen'),
    )
    assert list(results) == ['val', 'val_unseen']
    for found in results.values():
        assert found['classes'] == found['training_photos_a_class'] == 8
        assert len(found['features']) == 6
        for by_shots in found['features'].values():
            assert {k: len(draws) for k, draws in by_shots.items()} == {'1': 4, '3': 4, 'all': 1}
            assert all(0 <= a <= 1 for draws in by_shots.values() for a in draws)
        assert found['intervals'].keys() == found['features'].keys()
    colours = results['val']['features']['mean colours, 4 × 4']['all'][0]
    interval = results['val']['intervals']['mean colours, 4 × 4']['all']
    assert f'{100 * colours:.1f} ± {100 * interval:.1f}' in printed


def test_answers_of_folders_of_one_name_are_kept_apart(run, demo_data, tmp_path):
    (tmp_path / 'A').mkdir()
    (tmp_path / 'A/val').symlink_to(demo_data / 'imagenet/val_unseen')
    train = str(demo_data / 'imagenet/train')
    folders = ('imagenet/val', 'imagenet/train', tmp_path / 'A/val')
    results, _ = run('--train', train, folders=folders)
    assert list(results) == [str(demo_data / 'imagenet/val'), 'train', str(tmp_path / 'A/val')]
    assert results[str(tmp_path / 'A/val')] != results[str(demo_data / 'imagenet/val')]


def test_the_folder_where_one_is_has_a_name(tool):
    assert tool.names_of([Path('.'), Path('a/b'), Path('c/b'), Path('c/d')]) == [
        '.',
        'a/b',
        'c/b',
        'd',
    ]


def test_labels_of_the_very_photos_that_are_asked_about_are_learnt(run, demo_data):
    folder = demo_data / 'imagenet/train'
    results, _ = run('--train', str(folder), '--train-photos', '17', '--shots', '2')
    found = results['train']
    # Two of each class, and so are all labels of the 17.
    assert found['training_photos_a_class'] == 2
    colours = found['features']['mean colours, 4 × 4']
    assert set(colours['2']) == {colours['all'][0]}
    everything, printed = run('--train', str(folder))
    # All of them, and their labels say nothing of other photos.
    asked = len([path for path in folder.rglob('*') if path.is_file()])
    assert f'{asked} of {asked} photos that are asked about are copies of a labelled' in printed
    everything = everything['train']['features']['mean colours, 4 × 4']
    assert everything['all'][0] > colours['all'][0]


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (['--train-photos', '7'], '7 training photos are asked for, allowed: 8'),
        (['--draws', '0'], '--draws is 0, but must be 1 or more'),
        (['--shots', '0'], '--shots has 0, allowed: 1 or more'),
    ],
)
def test_labels_that_cannot_be_drawn_are_one_line(run, demo_data, options, message, capsys):
    with pytest.raises(SystemExit, match='2'):
        run('--train', str(demo_data / 'imagenet/train'), *options, folders=['imagenet/val'])
    assert message in capsys.readouterr().err


def test_a_class_without_training_photos_is_named(run, demo_data, tmp_path, capsys):
    train = tmp_path / 'train'
    train.mkdir()
    for name in ('bird', 'fish'):
        (train / name).symlink_to(demo_data / 'imagenet/train' / name)
    with pytest.raises(SystemExit, match='2'):
        run('--train', str(train), folders=['imagenet/val'])
    assert "asks about 'flower', but" in capsys.readouterr().err


def test_several_folders_need_training_photos(run, demo_data, capsys):
    with pytest.raises(SystemExit, match='2'):
        run(folders=('imagenet/val', 'imagenet/train'))
    assert 'more folders than one, and --train-photos, need --train' in capsys.readouterr().err


def test_no_column_has_a_number_of_labels_that_no_class_has(tool):
    """Three photos a class give two labelled ones, whatever is asked for; one is asked about."""
    classes = ['cat'] * 3 + ['dog'] * 2
    features = dict(some=torch.randn(5, 4, generator=torch.Generator().manual_seed(0)))
    answer = tool.evaluate(features, classes, [1, 2, 5, 20], draws=2)
    assert list(answer.features['some']) == [1, 2]
    printed = tool.table('photos', answer).splitlines()
    assert printed[-2:] == [
        "of 2 labelled, 1 of 2 classes have fewer, as few as 1 of the class 'dog'",
        'left out: 5, 20 labelled, for no class has more than 2 photos to be labelled',
    ]
    plain = tool.evaluate(features, classes, [1], draws=2)
    assert plain.remarks == []
    with pytest.raises(ValueError, match=r'--shots has 5, but no class has more than 2 photos'):
        tool.evaluate(features, classes, [5, 20], draws=2)


def test_training_photos_that_a_class_lacks_are_no_column(run, demo_data):
    train = str(demo_data / 'imagenet/train')
    results, printed = run('--train', train, '--shots', '2', '50', folders=['imagenet/val'])
    assert list(results['val']['features']['mean colours, 4 × 4']) == ['2', 'all']
    assert 'left out: 50 labelled, for no class has more than 8 photos' in printed

"""Published weights on the command line, and in the evaluation of official classifiers."""

import json
import runpy
from pathlib import Path

import pytest
import torch
from PIL import Image
from timm.data import ImageNetInfo

from mmbeitv2.checkpoints.catalogue import catalogue
from mmbeitv2.checkpoints.published_files import MIRROR
from mmbeitv2.exchange.exporting import export

ROOT = Path(__file__).resolve().parents[2]
NAME = 'beitv2-b16-1600e-in1k'
WIDTH = 48
# A small model in the place of ViT-B/16.
SMALL = {
    'model.backbone.arch': dict(_delete_=True, embed_dim=WIDTH, depth=4, num_heads=4),
    'model.backbone.img_size': 64,
    'model.head.in_channels': WIDTH,
    'test_dataloader.dataset.pipeline.0.size': 64,
    'test_dataloader.batch_size': 64,
    'test_dataloader.num_workers': 0,
    'test_dataloader.persistent_workers': False,
}


@pytest.fixture
def tool():
    return runpy.run_path(str(ROOT / 'tools/weights.py'))


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder that stands for the addresses of published files."""
    folder = tmp_path / 'mirror'
    folder.mkdir()
    monkeypatch.setenv(MIRROR, str(folder))
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
    monkeypatch.setattr(torch.hub, '_hub_dir', None)
    return folder


def test_the_list_says_where_each_file_is(tool, mirror, capsys):
    (mirror / catalogue()[NAME].file).write_bytes(bytes(3_000_000))
    tool['main']([])
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert lines.keys() >= catalogue().keys()
    assert lines[NAME].split() == [
        *(NAME, 'classifier', '85.5', 'top-1', 'MIT', '3', 'MB'),
        str(mirror / catalogue()[NAME].file),
    ]
    assert lines['vqkd-b16-dino'].split()[-2:] == ['–', 'no']


def test_one_is_shown_with_the_lines_that_use_it(tool, mirror, capsys):
    for name, line in {
        'vqkd-b16-clip': "load_tokenizer('vqkd-b16-clip')",
        NAME: f'mmbeitv2 test mmbeitv2::finetune/beitv2_vit-b16_1600e_in1k-224.py {NAME}',
    }.items():
        tool['main']([name])
        said = capsys.readouterr().out
        assert said.startswith(f'{name}: ')
        assert line in said


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['vqkd-b16-clpi'], "no published weights 'vqkd-b16-clpi', nearest: vqkd-b16-clip"),
        (['--download'], '--download needs a NAME'),
    ],
)
def test_what_cannot_be_shown_is_one_line(arguments, message, tool, capsys):
    with pytest.raises(SystemExit) as error:
        tool['main'](arguments)
    assert error.value.code == 2
    assert message in capsys.readouterr().err


class TestVerification:
    @pytest.fixture
    def official(self, mirror, classifier, as_checkpoint):
        """A small classifier in the official layout, under a published name.

        It sees one class in every photo, and before that one which ImageNet-A does not have.
        """
        _, state = classifier
        state['head.fc.weight'] = torch.zeros(1000, WIDTH)
        state['head.fc.bias'] = torch.zeros(1000)
        state['head.fc.bias'][[35, 36]] = torch.tensor([1.0, 2.0])
        written = export(as_checkpoint(state), 'official').state
        torch.save({'model': written}, mirror / catalogue()[NAME].file)
        return state

    @pytest.fixture
    def imagenet_a(self, tmp_path):
        """Class folders of 200 synsets with a photo each."""
        generator = torch.Generator().manual_seed(0)
        for synset in ImageNetInfo('imagenet-1k').label_names()[::5]:
            folder = tmp_path / 'imagenet-a' / synset
            folder.mkdir(parents=True)
            pixels = torch.randint(256, (12, 12, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).resize((64, 64)).save(folder / 'a.png')
        return tmp_path / 'imagenet-a'

    @pytest.fixture
    def verify(self):
        return runpy.run_path(str(ROOT / 'tools/verify_weights.py'))

    @pytest.fixture
    def arguments(self, verify, tmp_path, imagenet_a):
        args = verify['parse_args'](
            [NAME, '--imagenet-a', str(imagenet_a), '--work-dir', str(tmp_path / 'work')]
        )
        args.cfg_options = SMALL
        return args

    def test_our_number_stands_beside_the_published_one(self, verify, arguments, official):
        (row,) = verify['run'](arguments)
        assert (row.name, row.data, row.published) == (NAME, 'imagenet-a', 53.64)
        # One photo of 200.
        assert row.ours == pytest.approx(0.5)
        assert not row.agrees
        last = verify['table']([row]).splitlines()[-1]
        assert last.split()[:2] == [NAME, 'imagenet-a']
        assert last.endswith('differs')

    def test_reassessed_and_new_photos(self, verify, arguments, official, tmp_path):
        """ImageNetV2's folders are numbers, and class 36 is not the 36th by name."""
        generator = torch.Generator().manual_seed(0)
        pixels = torch.randint(256, (64, 64, 3), generator=generator, dtype=torch.uint8)
        photo = Image.fromarray(pixels.numpy())
        for number in range(1000):
            (tmp_path / f'v2/{number}').mkdir(parents=True)
            photo.save(tmp_path / f'v2/{number}/a.jpeg')
        (tmp_path / 'imagenet/val').mkdir(parents=True)
        (tmp_path / 'real.json').write_text(json.dumps([[36, 1], [35], [], [36]]))
        for number in range(1, 5):
            photo.save(tmp_path / f'imagenet/val/ILSVRC2012_val_{number:08d}.JPEG')
        arguments.imagenet_a = None
        arguments.imagenet_real = str(tmp_path / 'imagenet')
        arguments.cfg_options = SMALL | {'test_evaluator.labels': str(tmp_path / 'real.json')}
        (row,) = verify['run'](arguments)
        assert (row.data, row.published) == ('imagenet-real', 89.271)
        assert row.ours == pytest.approx(100 * 2 / 3)
        arguments.imagenet_v2, arguments.imagenet_real = str(tmp_path / 'v2'), None
        arguments.cfg_options = SMALL
        (row,) = verify['run'](arguments)
        assert (row.data, row.published) == ('imagenet-v2', 76.47)
        assert row.ours == pytest.approx(0.1)

    def test_timms_crop_is_used(self, verify):
        sides = [verify['resized_side'](catalogue()[name]) for name in verify['measured_names']()]
        assert sides == [248, 248, 235, 235]

    @pytest.mark.parametrize(
        ('line', 'message'),
        [
            ([NAME], 'no data are given: one or more of --imagenet, --imagenet-real, '),
            (['beitv2-b16-300e', '--imagenet', 'x'], 'nobody has measured beitv2-b16-300e'),
            ([NAME, '--imagenet-r', '/none'], "data_root of mmbeitv2.Photos is '/none'"),
        ],
    )
    def test_what_cannot_be_measured_is_one_line(self, line, message, verify, mirror, capsys):
        torch.save({}, mirror / catalogue()[NAME].file)
        with pytest.raises(SystemExit) as error:
            verify['main'](line)
        assert error.value.code == 2
        assert message in capsys.readouterr().err

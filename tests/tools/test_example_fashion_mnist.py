"""The example on Fashion-MNIST: its files, the folder of photos, and what each stage runs."""

import gzip
import json
import os
import re
import shlex
import sys
from argparse import ArgumentParser
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image, ImageDraw

import mmbeitv2
from mmbeitv2.errors import ExistingFileError, InputError, MissingFileError, UnreadableFileError
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.options import ConfigOptions
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.registry import MODELS

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]
COUNTS = dict(train=30, val=20, test=40)


@pytest.fixture
def tools(monkeypatch):
    """The example's modules, which find their neighbours as when they are run."""
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import example_fashion_mnist

    return example_fashion_mnist


@pytest.fixture
def photos(tools):
    return sys.modules['fashion_mnist']


def idx(values):
    """An array as an IDX file's bytes."""
    shape = b''.join(side.to_bytes(4, 'big') for side in values.shape)
    return bytes([0, 0, 8, values.ndim]) + shape + values.astype(np.uint8).tobytes()


def drawn(label, number):
    """A shape of a class: a bar as wide as the label says, lower in each further photo."""
    image = Image.new('L', (28, 28))
    ImageDraw.Draw(image).rectangle((2, number % 20, 4 + 2 * label, number % 20 + 4), fill=200)
    return np.asarray(image)


@pytest.fixture
def source(tmp_path):
    """The four files of six and five photos of each class; those of training packed."""
    folder = tmp_path / 'source'
    folder.mkdir()
    for half, each, ending, pack in (('train', 6, '.gz', gzip.compress), ('t10k', 5, '', bytes)):
        labels = np.arange(10 * each) % 10
        pixels = np.stack([drawn(label, i) for i, label in enumerate(labels)])
        for name, values in (('images-idx3', pixels), ('labels-idx1', labels)):
            (folder / f'{half}-{name}-ubyte{ending}').write_bytes(pack(idx(values)))
    return folder


@pytest.fixture
def trained(tmp_path):
    """A work directory in which tokenizer and ViT are trained."""
    work_dir = tmp_path / 'work'
    for folder in ('vqkd', 'seed0/pretrain'):
        (work_dir / folder).mkdir(parents=True)
        (work_dir / folder / 'last_checkpoint').write_text(str(work_dir / folder / 'epoch_1.pth'))
        (work_dir / folder / 'epoch_1.pth').touch()
    return work_dir


class TestPhotos:
    def test_each_class_is_a_folder_of_its_photos(self, photos, source, tmp_path):
        assert photos.make_photos(source, tmp_path / 'photos', COUNTS)
        for split, count in COUNTS.items():
            folders = sorted(p.name for p in (tmp_path / 'photos' / split).iterdir())
            assert folders == sorted(photos.CLASSES)
            for label, name in enumerate(photos.CLASSES):
                files = sorted((tmp_path / 'photos' / split / name).iterdir())
                assert len(files) == count // 10
                for file in files:
                    number = int(file.stem)
                    assert number % 10 == label
                    assert np.array_equal(np.asarray(Image.open(file)), drawn(label, number))

    def test_validation_photos_are_held_out_of_the_training_file(self, photos, source, tmp_path):
        photos.make_photos(source, tmp_path / 'photos', COUNTS)
        train, val = (
            {int(p.stem) for p in (tmp_path / 'photos' / split).glob('*/*')}
            for split in ('train', 'val')
        )
        assert train == set(range(30))
        assert val == set(range(40, 60))
        with pytest.raises(InputError, match='50 photos for train leave fewer than the 20 for val'):
            photos.make_photos(source, tmp_path / 'other', {**COUNTS, 'train': 50})

    def test_the_licence_lies_beside_the_photos(self, photos, source, tmp_path):
        photos.make_photos(source, tmp_path / 'photos', COUNTS)
        manifest = json.loads((tmp_path / 'photos/fashion_mnist.json').read_text())
        assert manifest['licence'].startswith('MIT')
        assert manifest['parameters'] == {'source': str(source), **COUNTS}

    def test_a_second_start_leaves_them_and_needs_no_source(self, photos, source, tmp_path):
        photos.make_photos(source, tmp_path / 'photos', COUNTS)
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'photos').rglob('*')}
        for file in source.iterdir():
            file.unlink()
        assert not photos.make_photos(source, tmp_path / 'photos', COUNTS)
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / 'photos').rglob('*')} == before

    def test_other_photos_are_refused(self, photos, source, tmp_path):
        photos.make_photos(source, tmp_path / 'photos', COUNTS)
        with pytest.raises(ExistingFileError, match=r'test 40 → 30.*name another WORK_DIR'):
            photos.make_photos(source, tmp_path / 'photos', {**COUNTS, 'test': 30})

    def test_an_incomplete_folder_is_named(self, photos, source, tmp_path):
        photos.make_photos(source, tmp_path / 'photos', COUNTS)
        next((tmp_path / 'photos/val/bag').iterdir()).unlink()
        with pytest.raises(InputError, match=r'incomplete \(19 of 20 in val\): remove it'):
            photos.make_photos(source, tmp_path / 'photos', COUNTS)

    def test_a_users_folder_is_left_alone(self, photos, source, tmp_path):
        (tmp_path / 'photos').mkdir()
        (tmp_path / 'photos' / 'mine.txt').write_text('mine')
        with pytest.raises(ExistingFileError, match='not made by this example'):
            photos.make_photos(source, tmp_path / 'photos', COUNTS)
        assert [p.name for p in (tmp_path / 'photos').iterdir()] == ['mine.txt']

    def test_a_failed_start_leaves_nothing_and_a_killed_one_is_cleared(
        self, photos, source, tmp_path, monkeypatch
    ):
        left = tmp_path / 'work/.photos.partial/train/bag'
        left.mkdir(parents=True)
        (left / '99999.png').touch()
        out = tmp_path / 'work/photos'
        with monkeypatch.context() as patch:
            patch.setattr(Image.Image, 'save', interrupt)
            with pytest.raises(KeyboardInterrupt):
                photos.make_photos(source, out, COUNTS)
        assert list((tmp_path / 'work').iterdir()) == []
        photos.make_photos(source, out, COUNTS)
        assert len(list(out.glob('train/bag/*'))) == 3

    @pytest.mark.parametrize('count', [0, 5, 35, 70])
    def test_a_number_of_photos_names_what_is_allowed(self, photos, source, tmp_path, count):
        with pytest.raises(InputError, match=rf'{count} photos for train: allowed are 10 to 60'):
            photos.make_photos(source, tmp_path / 'photos', {**COUNTS, 'train': count})


def interrupt(*args, **kwargs):
    raise KeyboardInterrupt


class TestFaultyFiles:
    def make(self, photos, source):
        photos.make_photos(source, source.parent / 'photos', COUNTS)

    def test_a_missing_package_is_one_line_with_the_command(self, photos, tmp_path):
        with pytest.raises(MissingFileError, match='sudo apt-get install dataset-fash') as error:
            self.make(photos, tmp_path / 'nowhere')
        assert '\n' not in str(error.value)
        assert '--source FOLDER' in str(error.value)

    def test_a_single_missing_file_is_named(self, photos, source):
        (source / 't10k-labels-idx1-ubyte').unlink()
        with pytest.raises(MissingFileError, match=r'no t10k-labels-idx1-ubyte\.gz in '):
            self.make(photos, source)

    def test_another_kind_of_file_is_named(self, photos, source):
        file = source / 't10k-images-idx3-ubyte'
        file.write_bytes((source / 't10k-labels-idx1-ubyte').read_bytes())
        with pytest.raises(InputError, match=f'{file} begins with 0x00000801.*with 0x00000803'):
            self.make(photos, source)

    @pytest.mark.parametrize('kept', [6, 10, 500, -1])
    def test_a_file_cut_off_is_named(self, photos, source, kept):
        file = source / 't10k-images-idx3-ubyte'
        file.write_bytes(file.read_bytes()[:kept])
        with pytest.raises(InputError, match=f'{file} holds .* bytes, its header announces'):
            self.make(photos, source)

    @pytest.mark.parametrize('share', [0.02, 0.5, 0.99])
    def test_a_packed_file_cut_off_is_named(self, photos, source, share):
        file = source / 'train-images-idx3-ubyte.gz'
        content = file.read_bytes()
        file.write_bytes(content[: int(share * len(content))])
        with pytest.raises(UnreadableFileError, match=f'{file} cannot be read'):
            self.make(photos, source)

    def test_a_damaged_packed_file_is_named(self, photos, source):
        file = source / 'train-images-idx3-ubyte.gz'
        content = bytearray(file.read_bytes())
        content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
        file.write_bytes(content)
        with pytest.raises(UnreadableFileError, match=f'{file} cannot be read'):
            self.make(photos, source)

    @pytest.mark.parametrize(
        ('name', 'values', 'message'),
        [
            ('images-idx3', np.zeros((50, 32, 32)), '32×32 pixels, wanted 28×28'),
            ('labels-idx1', np.zeros(49), '49 labels for 50 photos in t10k-images-idx3-ubyte'),
            ('labels-idx1', np.full(50, 10), 'has the label 10, allowed are 0 to 9'),
        ],
    )
    def test_files_of_other_data_are_named(self, photos, source, name, values, message):
        (source / f't10k-{name}-ubyte').write_bytes(idx(values))
        with pytest.raises(InputError, match=f'{source}.*{message}'):
            self.make(photos, source)


class TestStages:
    def test_training_is_the_standard_tools_on_the_examples_photos(self, tools, trained):
        for stage, config, folder in (
            ('tokenizer', tools.VQKD, 'vqkd'),
            ('pretrain', tools.BEITV2, 'seed0/pretrain'),
        ):
            job = tools.job_of(stage, trained)
            assert job.work_dir == trained / folder
            assert job.command()[:3] == ['bash', 'tools/dist_train.sh', config] or (
                job.command()[1:3] == ['tools/train.py', config]
            )
            cfg = load_config(ROOT / config, options_of(job))
            for loader, split in (('train', 'train'), ('val', 'val'), ('test', 'test')):
                dataset = cfg[f'{loader}_dataloader'].dataset
                assert Path(dataset.data_root) == trained / 'photos'
                assert dataset.data_prefix == split
            assert cfg.train_cfg.max_epochs == job.epochs == cfg.param_scheduler[-1].end

    def test_pretraining_reads_the_codes_of_the_tokenizer(self, tools, trained):
        cfg = load_config(ROOT / tools.BEITV2, options_of(tools.job_of('pretrain', trained)))
        tokenizer = load_config(ROOT / tools.VQKD)
        target = cfg.model.target_generator
        assert (ROOT / target.init_cfg.checkpoint).resolve() == trained / 'vqkd/epoch_1.pth'
        for name in ('img_size', 'patch_size', 'embed_dim', 'depth', 'num_heads'):
            assert target.encoder[name] == tokenizer.model.encoder[name]
        for name in ('num_codes', 'code_dim'):
            assert target.quantizer[name] == tokenizer.model.quantizer[name]
        assert cfg.model.head.num_codes == target.quantizer.num_codes

    def test_the_label_curve_sets_random_weights_and_the_teacher_beside(self, tools, trained):
        sys_argv = tools.job_of('few-shot', trained).command()[2:]
        import few_shot

        args = few_shot.parse_args(sys_argv)
        assert (ROOT / args.checkpoint).resolve() == trained / 'seed0/pretrain/epoch_1.pth'
        assert args.folders == [trained / 'photos/test']
        assert (args.config, args.teacher) == (tools.BEITV2, tools.VQKD)
        assert args.json == trained / 'seed0/few_shot/test.json'

    def test_the_label_curve_is_drawn_again_after_another_pretraining(self, tools, trained):
        job = tools.job_of('few-shot', trained)
        assert not job.is_finished()
        job.work_dir.mkdir()
        job.finished.write_text(shlex.join(job.command()))
        assert job.is_finished()
        os.utime(trained / 'seed0/pretrain/epoch_1.pth', (2**32, 2**32))
        assert not job.is_finished()

    def test_a_stage_before_its_input_names_the_stage_to_run(self, tools, tmp_path):
        with pytest.raises(MissingFileError, match="run the stage 'tokenizer' first"):
            tools.job_of('pretrain', tmp_path)

    def test_a_folder_with_other_files_is_no_work_directory(self, tools, tmp_path):
        (tmp_path / 'thesis.tex').touch()
        with pytest.raises(ExistingFileError, match=r'thesis\.tex is not of this example'):
            tools.check_work_dir(tmp_path)
        tools.check_work_dir(tmp_path / 'new')


def options_of(job):
    """The job's options as ``--cfg-options`` reads them."""
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions)
    return parser.parse_args(['--cfg-options', *job.options]).cfg_options


def first_step(config, **options):
    """A model of the example, and its losses on four photos as training reads them."""
    cfg = load_config(ROOT / 'configs/example' / config, options)
    cfg.train_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        loader = Runner.build_dataloader(cfg.train_dataloader, seed=0)
        model = MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
        model.init_weights()
        batch = model.data_preprocessor(next(iter(loader)), training=True)
    return model, model(**batch, mode='loss')


def test_both_configs_train_on_the_photos_as_they_are(photos, source, tmp_path):
    """7 × 7 patches of photos of 28 pixels, their own size; one reads what the other writes."""
    photos.make_photos(source, tmp_path / 'photos', COUNTS)
    data, tokenizer = str(tmp_path / 'photos'), tmp_path / 'tokenizer.pth'
    vqkd, losses = first_step('vqkd_fashion-mnist.py', data_root=data)
    assert vqkd.encoder.grid == (7, 7)
    assert 0 < losses['loss_rec'] < 2
    torch.save(dict(state_dict=vqkd.state_dict()), tokenizer)
    beitv2, losses = first_step(
        'beitv2_fashion-mnist.py', data_root=data, tokenizer_checkpoint=str(tokenizer)
    )
    assert beitv2.backbone.grid == (7, 7)
    assert losses['loss_mim'] > 0
    assert torch.equal(beitv2.target_generator.quantize.codebook, vqkd.quantize.codebook)


def test_the_command_line_ends_at_a_missing_package_with_one_line(
    tools, tmp_path, monkeypatch, capsys
):
    # Restored after the test: the stages run in the repository's root.
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended, one_line_errors():
        tools.main(['work', '--source', str(tmp_path)])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: no train-images-idx3-ubyte.gz in ')
    assert 'sudo apt-get install dataset-fashion-mnist' in line
    assert list(tmp_path.iterdir()) == []


def test_help_needs_no_data(tools, capsys):
    with pytest.raises(SystemExit) as ended:
        tools.main(['--help'])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert 'apt-get install dataset-fashion-mnist' in printed
    assert 'MIT' in printed


def test_too_few_test_photos_for_the_labels_are_refused(tools, capsys):
    with pytest.raises(SystemExit):
        tools.main(['--test', '590'])
    assert '--test 590: 50 labels a class need 600 or more' in capsys.readouterr().err


@pytest.fixture
def report(tools):
    import example_report

    return example_report


def test_the_report_sets_pretrained_features_beside_random_and_teachers(report):
    rng = np.random.default_rng(0)
    luck = np.linspace(-0.1, 0.1, 40)
    means = {
        'pretrained, [CLS]': 0.7,
        'pretrained, mean of patches': 0.6,
        'random weights, [CLS]': 0.5,
        'random weights, mean of patches': 0.61,
        'mean colours, 4 × 4': 0.4,
        'teacher': 0.8,
    }
    draws = {
        name: {k: (mean + luck + rng.normal(0, 0.01, 40)).tolist() for k in report.IN_TABLE}
        for name, mean in means.items()
    }
    rows = {m.name: m for m in report.few_shot_measurements(draws, 10, 'test photos')}
    better = rows['5 labels a class, from [CLS]']
    worse = rows['1 label a class, from the mean of patches']
    # The labelled photos are the same for both, so that their luck widens no interval.
    assert better.gain == pytest.approx(0.2, abs=0.01)
    low, high = better.interval
    assert high - low < 0.02
    assert low < better.gain < high
    assert (better.verdict, worse.verdict) == ('gain', 'loss')
    assert better.baseline == 0.1
    shown = re.fullmatch(r'mean greys, 4 × 4 (\S+) %; the teacher (\S+) %', better.note)
    assert [float(x) for x in shown.groups()] == pytest.approx([40, 80], abs=1)
    head, *lines = report.curve_table(draws).splitlines()
    assert head.split()[-4:] == list(report.IN_TABLE)
    assert [line.split('  ')[0] for line in lines] == list(means)


def test_the_report_names_the_stage_that_is_missing(report, trained):
    with pytest.raises(MissingFileError, match=f'example_fashion_mnist.sh {trained}` first'):
        report.main([str(trained)])

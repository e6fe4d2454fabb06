"""Real trainings made to learn, stall, memorise and collapse are each called by that name."""

import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.runner import Runner

from mmbeitv2.evaluation.learning_record import read_learning
from mmbeitv2.launch.config import load_config

ROOT = Path(__file__).parents[2]
PHOTOS = 960
WIDTH = dict(embed_dim=64, depth=2, num_heads=2)
CODES = 64
# Nothing of a photo changes but its mask.
PLAIN = dict(type='mmbeitv2.LoadCenterCrop', size=96, interpolation='bicubic')
QUIET = dict(num_workers=0, persistent_workers=False)

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
    """Photos composed as the demo's: 960 of training and 128 held out."""
    out = tmp_path_factory.mktemp('verdicts') / 'demo'
    counts = ['--train', PHOTOS, '--seg-train', 8, '--val', 128, '--workers', 1]
    command = [sys.executable, 'tools/make_demo_data.py', '--out', out, *counts]
    subprocess.run([str(part) for part in command], cwd=ROOT, check=True)
    return out / 'imagenet'


@pytest.fixture(scope='module')
def few(demo):
    """The same with 30 training photos."""
    folder = demo.parent / 'few'
    kept = sorted((demo / 'train').glob('*/*'))[:: PHOTOS // 30][:30]
    for photo in kept:
        place = folder / 'train' / photo.relative_to(demo / 'train')
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(photo)
    (folder / 'val').symlink_to(demo / 'val')
    return folder


@pytest.fixture(scope='module')
def run(demo, timm_teacher_config, tmp_path_factory):
    """Trains by the demo's config; gives the looks and the folder."""

    def run(config, data, epochs, lr, **options):
        work_dir = tmp_path_factory.mktemp(config.split('_')[0])
        cfg = load_config(ROOT / 'configs/demo' / config, options)
        cfg.work_dir = str(work_dir)
        cfg.experiment_name = cfg.visualizer.name = work_dir.name
        for name in ('train', 'val', 'test'):
            cfg[f'{name}_dataloader'].update(QUIET)
            cfg[f'{name}_dataloader'].dataset.data_root = str(data)
        cfg.train_dataloader.batch_size = 16
        cfg.train_cfg.update(max_epochs=epochs, val_interval=epochs)
        cfg.param_scheduler[-1].update(end=epochs, eta_min=0.0)
        cfg.optim_wrapper.optimizer.lr = lr
        learning = dict(type='mmbeitv2.LearningHook', max_cost=1.0, max_photos=128)
        cfg.default_hooks.learning = learning
        cfg.default_hooks.logger.interval = 1000
        Runner.from_cfg(cfg).train()
        return read_learning(work_dir), work_dir

    return run


@pytest.fixture(scope='module')
def tokenizer_options(timm_teacher_config):
    return {
        'model.encoder': dict(WIDTH, img_size=96),
        'model.decoder': dict(WIDTH, depth=1),
        'model.quantizer.num_codes': CODES,
        'model.teacher': dict(timm_teacher_config, _delete_=True),
        'val_evaluator.num_codes': CODES,
    }


@pytest.fixture(scope='module')
def tokenizer(run, demo, tokenizer_options):
    """Looks at an ordinary tokenizer's training, and its folder."""
    return run('vqkd_demo.py', demo, 6, 2e-3, **tokenizer_options)


@pytest.fixture(scope='module')
def pretrain(run, tokenizer):
    def pretrain(data, epochs, lr, **options):
        narrow = dict(embed_dim=WIDTH['embed_dim'], num_heads=WIDTH['num_heads'])
        options = {
            'model.backbone.arch': dict(narrow, depth=3),
            'model.neck': dict(narrow, layer=2, depth=1),
            'model.head.embed_dim': narrow['embed_dim'],
            'model.head.num_codes': CODES,
            'model.target_generator.encoder': dict(WIDTH, img_size=96),
            'model.target_generator.quantizer.num_codes': CODES,
            'model.target_generator.init_cfg.checkpoint': str(tokenizer[1] / 'last_checkpoint'),
            **options,
        }
        return run('beitv2_demo.py', data, epochs, lr, **options)[0]

    return pretrain


def words(looks):
    said = [look['verdict']['word'] for look in looks]
    print(*(f'{look["epoch"]}: {look["verdict"]}' for look in looks), sep='\n')
    return said


class TestTokenizer:
    def test_an_ordinary_one_is_learning(self, tokenizer):
        said = words(tokenizer[0])
        assert set(said[1:]) == {'learning'}

    def test_a_rate_of_zero_is_stalled(self, run, demo, tokenizer_options):
        said = words(run('vqkd_demo.py', demo, 6, 0.0, **tokenizer_options)[0])
        assert said[3:] == ['stalled'] * 4

    def test_a_huge_rate_without_revival_is_collapsed_at_the_first_epoch(
        self, run, demo, tokenizer_options
    ):
        options = {**tokenizer_options, 'model.quantizer.revive_below': None}
        assert words(run('vqkd_demo.py', demo, 2, 3.0, **options)[0])[1] == 'collapsed'


class TestPretraining:
    def test_an_ordinary_one_is_learning(self, pretrain, demo):
        assert set(words(pretrain(demo, 15, 3e-3))[1:]) == {'learning'}

    def test_a_rate_of_almost_zero_is_stalled(self, pretrain, demo):
        assert words(pretrain(demo, 6, 1e-9))[3:] == ['stalled'] * 4

    def test_thirty_photos_without_augmentation_are_memorised(self, pretrain, few):
        pipeline = load_config(ROOT / 'configs/demo/beitv2_demo.py', {}).train_pipeline
        pipeline[0].transforms = [PLAIN, pipeline[0].transforms[-1]]
        options = {
            'train_dataloader.dataset.pipeline': pipeline,
            'train_dataloader.drop_last': False,
        }
        said = words(pretrain(few, 150, 2e-3, **options))
        assert said[-1] == 'memorising'
        assert 'collapsed' not in said

    def test_a_huge_rate_is_collapsed_at_the_first_epoch(self, pretrain, demo):
        assert words(pretrain(demo, 2, 3.0))[1] == 'collapsed'

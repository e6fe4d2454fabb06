"""Segmentation end to end on demo photos: our tools, those of mmsegmentation, and its API."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import mmseg
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from PIL import Image
from torch import nn

from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.runner import load_weights
from mmbeitv2.models import BEiTViT

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs' / 'demo' / 'upernet_demo.py'
MMSEG_TOOLS = Path(mmseg.__file__).parent / '.mim' / 'tools'
LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
MEAN_IOU, MEAN_ACCURACY, ACCURACY = 'mIoU', 'mAcc', 'aAcc'


def run(script: Path, *arguments: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run a tool in a process of its own, from another folder than the repository."""
    return subprocess.run(
        [sys.executable, str(script), *(str(part) for part in arguments)],
        cwd=cwd,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'CUDA_VISIBLE_DEVICES': ''},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def mmseg_scope():
    """Default scope of mmsegmentation, its data sets registered."""
    import mmseg.datasets  # noqa: F401

    return DefaultScope.overwrite_default_scope('mmseg')


@pytest.fixture(scope='module')
def options(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Overrides that shorten the demo and point it at small data and a pretraining checkpoint."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = BEiTViT(
            arch=dict(embed_dim=128, depth=6, num_heads=2),
            img_size=96,
            init_values=1.0,
            use_abs_pos_emb=False,
            use_shared_rel_pos_bias=True,
            use_mask_token=True,
        )
        backbone.init_weights()
        nn.init.normal_(backbone.rel_pos_bias.relative_position_bias_table)
    state = {f'backbone.{name}': value for name, value in backbone.state_dict().items()}
    checkpoint = tmp_path_factory.mktemp('pretrained') / 'epoch_1.pth'
    torch.save(dict(state_dict=state), checkpoint)
    return {
        **{f'{loader}.dataset.data_root': str(demo_data / 'ade') for loader in LOADERS},
        **{f'{loader}.num_workers': 0 for loader in LOADERS},
        'train_dataloader.persistent_workers': False,
        'train_dataloader.batch_size': 4,
        'model.backbone.init_cfg.checkpoint': str(checkpoint),
        'train_cfg.max_iters': 2,
        'train_cfg.val_interval': 2,
        'param_scheduler.0.end': 1,
    }


@pytest.fixture(scope='module')
def trained(options: dict, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder in which mmsegmentation's own tools/train.py has trained for two iterations."""
    folder = tmp_path_factory.mktemp('trained')
    result = run(
        *(MMSEG_TOOLS / 'train.py', CONFIG, '--work-dir', folder, '--cfg-options'),
        *(f'{key}={value}' for key, value in options.items()),
        cwd=folder,
    )
    assert result.returncode == 0, result.stdout
    assert 'Iter(train) [2/2]' in result.stdout or (folder / 'iter_2.pth').is_file()
    start = options['model.backbone.init_cfg.checkpoint']
    assert f'BEiTViT from {start}' in result.stdout
    return folder


def test_mmsegmentations_own_test_tool_runs_the_config(trained: Path, options: dict) -> None:
    result = run(
        *(MMSEG_TOOLS / 'test.py', CONFIG, trained / 'iter_2.pth', '--work-dir', trained),
        *('--cfg-options', *(f'{key}={value}' for key, value in options.items())),
        cwd=trained,
    )
    assert result.returncode == 0, result.stdout
    for metric in (MEAN_IOU, MEAN_ACCURACY, ACCURACY):
        assert f'{metric}:' in result.stdout


@pytest.mark.slow
def test_two_cpu_processes_train_and_test_with_one_set_of_norm_statistics(
    options: dict, tmp_path: Path
) -> None:
    arguments = [f'{key}={value}' for key, value in options.items()]
    for tool, files in (('train', [CONFIG, 2]), ('test', [CONFIG, tmp_path / 'iter_2.pth', 2])):
        result = subprocess.run(
            ['bash', str(ROOT / 'tools' / f'dist_{tool}.sh'), *(str(file) for file in files)]
            + ['--work-dir', str(tmp_path), '--cfg-options', *arguments],
            cwd=tmp_path,
            env={
                **os.environ,
                'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
                'CUDA_VISIBLE_DEVICES': '',
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout
        assert re.search(r'\d+ norm configs of SyncBN, .* use mmbeitv2\.Any', result.stdout)
        assert f'{MEAN_IOU}: ' in result.stdout


@pytest.fixture
def configured(trained: Path, options: dict, tmp_path: Path):
    """The config as tools/test.py changes it for arguments."""
    tool = runpy.run_path(str(ROOT / 'tools' / 'test.py'))

    def configure(*arguments: str) -> Config:
        args = tool['parse_args']([str(CONFIG), str(trained / 'iter_2.pth'), *arguments])
        cfg = load_config(CONFIG, options)
        tool['apply_arguments'](cfg, args)
        cfg.work_dir = str(tmp_path)
        # mmengine's instances are global by name: another test's would keep its folder.
        cfg.experiment_name = cfg.visualizer.name = tmp_path.name
        return cfg

    return configure


@pytest.fixture
def evaluate(configured):
    """Metrics of the test run that arguments of tools/test.py ask for."""
    return lambda *arguments: Runner.from_cfg(configured(*arguments)).test()


def test_three_metrics_and_an_overlay_of_every_image(evaluate, tmp_path: Path) -> None:
    metrics = evaluate('--show-dir', str(tmp_path / 'overlays'))
    for name in (MEAN_IOU, MEAN_ACCURACY, ACCURACY):
        assert 0 <= metrics[name] <= 100
    overlays = [Image.open(path) for path in (tmp_path / 'overlays').rglob('*.png')]
    assert len(overlays) == 16
    assert all(np.asarray(overlay).std() > 5 for overlay in overlays)


def test_augmentations_are_averaged(evaluate) -> None:
    assert 0 <= evaluate('--tta')[MEAN_IOU] <= 100


@pytest.mark.parametrize('augmented', [False, True])
def test_unlabelled_images_give_class_maps_as_the_benchmark_takes_them(
    evaluate, options: dict, demo_data: Path, tmp_path: Path, monkeypatch, augmented: bool
) -> None:
    photos = tmp_path / 'photos'
    photos.mkdir()
    for index, size in enumerate([(96, 96), (130, 70)]):
        source = sorted((demo_data / 'ade' / 'images' / 'validation').glob('*.jpg'))[index]
        Image.open(source).resize(size).save(photos / f'{index}.jpg')
    monkeypatch.setitem(options, 'test_dataloader.dataset.data_root', None)
    monkeypatch.setitem(options, 'test_dataloader.dataset.data_prefix.img_path', str(photos))
    folder = tmp_path / 'results'
    assert evaluate('--format-only', str(folder), *(['--tta'] if augmented else [])) == {}
    maps = {path.name: Image.open(path) for path in folder.iterdir()}
    assert {name: picture.size for name, picture in maps.items()} == {
        '0.png': (96, 96),
        '1.png': (130, 70),
    }
    for picture in maps.values():  # 0 means unlabelled: classes are 1 to 9
        assert np.asarray(picture).dtype == np.uint8
        assert np.asarray(picture).min() >= 1
        assert np.asarray(picture).max() <= 9


@pytest.mark.parametrize('augmented', [False, True])
def test_checkpoint_of_another_width_is_refused(
    trained: Path, configured, tmp_path: Path, augmented: bool
) -> None:
    """Without that check mmengine would only log it, and evaluate random weights."""
    cfg = configured(*(['--tta'] if augmented else []))
    cfg.load_from = None
    runner = Runner.from_cfg(cfg)
    load_weights(runner, str(trained / 'iter_2.pth'))
    state = torch.load(trained / 'iter_2.pth', weights_only=True)['state_dict']
    state['decode_head.conv_seg.weight'] = torch.zeros(4, 64, 1, 1)
    torch.save(dict(state_dict=state), tmp_path / 'other.pth')
    with pytest.raises(ValueError, match=r'other\.pth: .*another architecture .*conv_seg\.weight'):
        load_weights(runner, str(tmp_path / 'other.pth'))


def test_mmsegmentations_functions_load_and_use_the_model(trained: Path, demo_data: Path) -> None:
    from mmseg.apis import inference_model, init_model

    model = init_model(str(CONFIG), str(trained / 'iter_2.pth'), device='cpu')
    stored = torch.load(trained / 'iter_2.pth', weights_only=True)['state_dict']
    assert all(torch.equal(stored[name], value) for name, value in model.state_dict().items())
    photo = sorted((demo_data / 'ade' / 'images' / 'validation').glob('*.jpg'))[0]
    result = inference_model(model, str(photo))
    assert result.pred_sem_seg.data.shape == (1, *Image.open(photo).size[::-1])
    assert len(model.dataset_meta['classes']) == 9


class TestDataCheck:
    @pytest.fixture
    def check(self, demo_data: Path, tmp_path: Path):
        """Run tools/check_segmentation_data.py on a copy of the demo's validation data."""
        data = tmp_path / 'ade'
        for kind in ('images', 'annotations'):
            (data / kind).mkdir(parents=True)
            target = data / kind / 'validation'
            target.mkdir()
            for file in sorted((demo_data / 'ade' / kind / 'validation').iterdir())[:3]:
                (target / file.name).write_bytes(file.read_bytes())
        tool = runpy.run_path(str(ROOT / 'tools' / 'check_segmentation_data.py'))

        def run_check(**options) -> list[str]:
            cfg = load_config(CONFIG, {'val_dataloader.dataset.data_root': str(data), **options})
            return tool['check_phase'](cfg, 'val', workers=1)

        with mmseg_scope():
            yield data, run_check

    def test_complete_data_has_no_error(self, check, capsys) -> None:
        _, run_check = check
        assert run_check() == []
        assert 'val: 3 images' in capsys.readouterr().out

    def test_every_error_names_its_file(self, check) -> None:
        data, run_check = check
        masks = sorted((data / 'annotations' / 'validation').iterdir())
        Image.fromarray(np.full((128, 128), 10, np.uint8)).save(masks[0])
        Image.fromarray(np.ones((50, 128), np.uint8)).save(masks[1])
        masks[2].rename(masks[2].with_name('alone.png'))
        errors = run_check()
        assert len(errors) == 4
        assert f'the mask {masks[0]} has values 10' in errors[0]
        assert f'the mask {masks[1]} has 50×128 pixels' in errors[1]
        assert f'{masks[2]} does not exist' in errors[2]
        assert 'alone.png has no image in' in errors[3]

"""The whole chain on demo photos, in miniature: the demo configs, shortened, in their order."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner

from mmbeitv2.apis import load_pretrained, load_tokenizer
from mmbeitv2.launch.config import load_config

ROOT = Path(__file__).resolve().parents[2]
FAST_LOADERS = {
    f'{loader}.{key}': value
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
    for key, value in (('num_workers', 0), ('persistent_workers', False), ('batch_size', 8))
}


def run(name: str, work_dir: Path, options: dict, resume: bool = False) -> Runner:
    """Train with a demo config, evaluate on its test set, and return the runner."""
    cfg = load_config(ROOT / 'configs' / 'demo' / name, {**FAST_LOADERS, **options})
    cfg.work_dir = str(work_dir)
    cfg.resume = resume
    # Runs that start within one second must not share mmengine's global instances.
    cfg.experiment_name = f'{work_dir.parent.name}_{work_dir.name}_{resume}'
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


def logged(work_dir: Path, name: str) -> list[float]:
    """Values of a scalar over a run, in order."""
    lines = [
        json.loads(line)
        for file in sorted(work_dir.glob('*/vis_data/scalars.json'))
        for line in file.read_text().splitlines()
    ]
    return [line[name] for line in lines if name in line]


def data_options(folder: Path) -> dict:
    """Point all three loaders at a folder of demo data."""
    return {
        f'{loader}.dataset.data_root': str(folder)
        for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader')
    }


def epochs(number: int) -> dict:
    """Shorten a run that counts epochs."""
    return {'train_cfg.max_epochs': number, 'train_cfg.val_interval': number}


@pytest.fixture(scope='module')
def tokenizer(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    work_dir = tmp_path_factory.mktemp('chain') / 'vqkd'
    options = {
        **data_options(demo_data / 'imagenet'),
        **epochs(1),
        'default_hooks.logger.interval': 1,
    }
    runner = run('vqkd_demo.py', work_dir, options)
    metrics = runner.test()
    assert 0 < metrics['tokenizer/codebook_usage'] <= 1
    return work_dir / 'epoch_1.pth'


@pytest.fixture(scope='module')
def pretrained(demo_data: Path, tokenizer: Path) -> Path:
    work_dir = tokenizer.parents[1] / 'pretrain'
    options = {
        **data_options(demo_data / 'imagenet'),
        **epochs(2),
        'tokenizer_checkpoint': str(tokenizer),
        'default_hooks.logger.interval': 1,
    }
    runner = run('beitv2_demo.py', work_dir, options)
    assert 0 <= runner.test()['masked_codes/acc_mim'] <= 1
    return work_dir / 'epoch_2.pth'


def test_the_tokenizer_learns_to_reconstruct(tokenizer: Path) -> None:
    losses = logged(tokenizer.parent, 'loss_rec')
    assert losses[-1] < losses[0]


def test_pretraining_learns_and_leaves_the_tokenizer_alone(
    tokenizer: Path, pretrained: Path
) -> None:
    losses = logged(pretrained.parent, 'loss_mim')
    assert losses[-1] < losses[0]
    before = load_tokenizer(str(tokenizer)).state_dict()
    after = load_pretrained(str(pretrained)).target_generator.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_an_interrupted_pretraining_resumes_at_its_iteration(
    demo_data: Path, tokenizer: Path, pretrained: Path, tmp_path: Path
) -> None:
    options = {
        **data_options(demo_data / 'imagenet'),
        **epochs(2),
        'tokenizer_checkpoint': str(tokenizer),
        'default_hooks.logger.interval': 1,
    }
    marker = tmp_path / 'last_checkpoint'
    first_epoch = pretrained.with_name('epoch_1.pth')
    (tmp_path / 'epoch_1.pth').write_bytes(first_epoch.read_bytes())
    marker.write_text(str(tmp_path / 'epoch_1.pth'))
    run('beitv2_demo.py', tmp_path, options, resume=True)
    steps = logged(tmp_path, 'step')
    uninterrupted = logged(pretrained.parent, 'loss')
    per_epoch = len(uninterrupted) // 2
    assert steps[0] == per_epoch + 1
    torch.testing.assert_close(
        torch.tensor(logged(tmp_path, 'loss')),
        torch.tensor(uninterrupted[per_epoch:]),
        rtol=1e-3,
        atol=1e-3,
    )


@pytest.mark.parametrize(
    ('config', 'metric', 'data', 'length'),
    [
        ('linear_probe_demo.py', 'probe/top1_cls', 'imagenet', epochs(1)),
        ('finetune_demo.py', 'accuracy/top1', 'imagenet', epochs(1)),
        (
            'upernet_demo.py',
            'mIoU',
            'ade',
            {'train_cfg.max_iters': 2, 'train_cfg.val_interval': 2, 'param_scheduler.0.end': 1},
        ),
    ],
)
def test_the_backbone_serves_every_evaluation(
    config: str, metric: str, data: str, length: dict, demo_data: Path, pretrained: Path, tmp_path
) -> None:
    options = {
        **data_options(demo_data / data),
        **length,
        'model.backbone.init_cfg.checkpoint': str(pretrained),
    }
    metrics = run(config, tmp_path, options).test()
    assert metric in metrics

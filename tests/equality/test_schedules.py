"""Learning rates, layer decay and weight decay of our configs are the official ones."""

from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.runner import Runner
from torch import nn

from mmbeitv2.launch.config import load_config
from mmbeitv2.models import BEiTViT

pytestmark = pytest.mark.equality
OFFICIAL = 'official'
CONFIGS = Path(__file__).parents[2] / 'configs'
PRETRAINING = CONFIGS / 'beitv2_vit-b16_300e.py'
FINE_TUNING = CONFIGS / 'finetune/beitv2_vit-b16_300e_in1k-224.py'
# The depth of ViT-B, on which layer decay depends.
TINY = dict(embed_dim=8, depth=12, num_heads=2)


class Classifier(BaseModel):
    """A classifier whose loss costs nothing."""

    def __init__(self, arch, img_size):
        super().__init__()
        self.backbone = BEiTViT(
            arch,
            img_size=img_size,
            init_values=0.1,
            use_abs_pos_emb=False,
            use_rel_pos_bias=True,
            final_norm='fc_norm',
            out_type='avg_featmap',
        )
        self.head = nn.Linear(self.backbone.embed_dim, 1000)

    def forward(self, inputs, mode):
        return dict(loss=self.head.bias.sum())


class LearningRates(Hook):
    """Keeps the learning rate of every parameter group, at every iteration."""

    def __init__(self):
        self.history = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.optimizer.param_groups
        self.history.append([group['lr'] for group in groups])


def run(cfg, epoch_length, work_dir):
    """Learning rates, float64 (iterations, groups), of a whole run by mmengine's Runner."""
    hook = LearningRates()
    Runner(
        model=Classifier(TINY, img_size=32),
        work_dir=str(work_dir),
        train_dataloader=dict(
            dataset=[dict(inputs=torch.zeros(1))] * epoch_length,
            sampler=dict(type='DefaultSampler', shuffle=False),
            batch_size=1,
        ),
        train_cfg=dict(by_epoch=True, max_epochs=cfg.train_cfg.max_epochs),
        optim_wrapper=cfg.optim_wrapper,
        param_scheduler=cfg.param_scheduler,
        default_hooks=dict(checkpoint=None, logger=None),
        custom_hooks=[hook],
        log_level='WARNING',
        experiment_name=work_dir.name,
    ).train()
    return torch.tensor(hook.history, dtype=torch.float64)


@pytest.mark.parametrize(
    ('name', 'config', 'epoch_length', 'layer_decay'),
    [
        ('pretrain', PRETRAINING, 2, 1.0),
        ('fine-tune', FINE_TUNING, 3, 0.65),
    ],
    ids=['pretraining', 'fine-tuning'],
)
def test_learning_rate_of_every_iteration(
    name, config, epoch_length, layer_decay, schedules, tmp_path, assert_equal_within
):
    rates = schedules['learning rate per iteration']
    (expected,) = [value for title, value in rates.items() if title.startswith(name)]
    found = run(load_config(config), epoch_length, tmp_path)
    expected = torch.tensor(expected, dtype=torch.float64)
    peak = expected.max()
    # Two groups, decayed or not, of every depth; the deepest learn at the full rate.
    depths = range(1 if layer_decay == 1 else 14)
    scales = [layer_decay**depth for depth in reversed(depths) for _ in range(2)]
    expected = expected[:, None] * torch.tensor(scales, dtype=torch.float64)
    assert found.shape == expected.shape
    # mmengine's warm-up multiplies, so it starts near 0 instead of at it.
    assert_equal_within(
        f'{name}, learning rate of the first iteration over the peak',
        OFFICIAL,
        found[0] / peak,
        expected[0] / peak,
        atol=1e-8,
    )
    assert_equal_within(
        f'{name}, learning rate of every later iteration and group',
        OFFICIAL,
        found[1:] / expected[1:],
        torch.ones_like(found[1:]),
        rtol=1e-5,
    )


def settings(model, cfg):
    """Learning rate over the base rate, and weight decay, of every parameter in the optimiser."""
    cfg.optimizer.pop('fused', None)  # needs tensors with memory
    groups = build_optim_wrapper(model, cfg).optimizer.param_groups
    name_of = {id(parameter): name for name, parameter in model.named_parameters()}
    values = {
        name_of[id(parameter)]: (group['lr'] / cfg.optimizer.lr, group['weight_decay'])
        for group in groups
        for parameter in group['params']
    }
    return values, groups


def test_layer_decay_of_every_parameter(schedules, assert_equal_within):
    expected = schedules['layer-decay scale, ViT-B/16 classifier, decay 0.65']
    with torch.device('meta'):
        model = Classifier('base', img_size=224)
    found, groups = settings(model, load_config(FINE_TUNING).optim_wrapper)
    assert len(groups) == 2 * 14  # decayed or not, in 14 depths
    found = {name.removeprefix('backbone.'): scale for name, (scale, _) in found.items()}
    # The golden list lacks these two of every layer: they learn as their layer does.
    for name in found.keys() - expected.keys():
        assert name.endswith(('.q_bias', '.v_bias'))
        assert found[name] == found[f'{name.rsplit(".", 1)[0]}.qkv.weight']
    names = sorted(expected)
    assert_equal_within(
        'fine-tune, layer-decay scale of every parameter',
        OFFICIAL,
        torch.tensor([found[name] / expected[name] for name in names], dtype=torch.float64),
        torch.ones(len(names)),
        rtol=1e-5,
    )


def test_weight_decay_of_every_pretraining_parameter(
    schedules, mmpretrain_scope, assert_equal_within
):
    cfg = load_config(PRETRAINING)
    with torch.device('meta'):
        model = ROOT_MODELS.build(cfg.model)
    found, groups = settings(model, cfg.optim_wrapper)
    assert len(groups) == 2
    assert {scale for scale, _ in found.values()} == {1.0}
    # Official names have no part of the model in front of them.
    found = {name.split('.', 1)[1]: decay for name, (_, decay) in found.items()}
    expected = {
        **dict.fromkeys(schedules['pretraining parameters with weight decay'], 0.05),
        **dict.fromkeys(schedules['pretraining parameters without weight decay'], 0.0),
    }
    assert found.keys() == expected.keys()
    assert_equal_within(
        'pretrain, weight decay of every parameter',
        OFFICIAL,
        torch.tensor([found[name] for name in sorted(expected)]),
        torch.tensor([expected[name] for name in sorted(expected)]),
        atol=0,
    )

"""Small models of every kind with random weights, as checkpoints of this project."""

import pytest
import torch
from mmengine.registry import DefaultScope
from torch import nn

from mmbeitv2.checkpoints.translation import Checkpoint, translate
from mmbeitv2.models import BEiTViT

CLASSIFIER_BACKBONE = dict(
    arch=dict(embed_dim=48, depth=4, num_heads=4),
    img_size=64,
    init_values=0.1,
    use_abs_pos_emb=False,
    use_rel_pos_bias=True,
    final_norm='fc_norm',
    out_type='avg_featmap',
)


def randomized(model: nn.Module) -> nn.Module:
    """``model`` in eval mode, none of its parameters at a value that another could have too."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    model.eval()  # mmpretrain's backbones do not return themselves
    return model


@pytest.fixture
def randomize():
    return randomized


@pytest.fixture
def build_mmpretrain():
    """A model of mmpretrain with random weights, built by its own registry."""
    from mmpretrain.registry import MODELS

    def build(config):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            return randomized(MODELS.build(config))

    return build


@pytest.fixture
def fine_tuning_backbone():
    """Our backbone as it is fine-tuned, with random weights."""
    return randomized(BEiTViT(**CLASSIFIER_BACKBONE))


@pytest.fixture
def classifier(fine_tuning_backbone):
    """Backbone and linear head, and their tensors as an ``ImageClassifier`` names them."""
    backbone = fine_tuning_backbone
    head = randomized(nn.Linear(48, 10))
    state = {f'backbone.{n}': v for n, v in backbone.state_dict().items()}
    state.update({f'head.fc.{n}': v for n, v in head.state_dict().items()})
    return nn.Sequential(backbone, _First(), head), state


class _First(nn.Module):
    def forward(self, features):
        return features[0]


@pytest.fixture
def as_checkpoint():
    """A :class:`Checkpoint` of tensors by any project's names."""

    def make(state, source='file.pth') -> Checkpoint:
        return translate({n: v.detach().clone() for n, v in state.items()}, source)

    return make


@pytest.fixture
def segmentor():
    """UperNet of mmsegmentation on our backbone, four layers of width 32."""
    from mmseg.registry import MODELS

    norm_cfg = dict(type='BN')
    head = dict(num_classes=5, norm_cfg=norm_cfg, align_corners=False)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(
            dict(
                type='EncoderDecoder',
                data_preprocessor=dict(type='SegDataPreProcessor'),
                backbone=dict(
                    type='mmbeitv2.BEiTViT',
                    arch=dict(embed_dim=32, depth=4, num_heads=2),
                    img_size=64,
                    init_values=0.1,
                    use_abs_pos_emb=False,
                    use_rel_pos_bias=True,
                    final_norm=None,
                    out_type='featmap',
                    out_indices=(0, 1, 2, 3),
                ),
                neck=dict(type='Feature2Pyramid', embed_dim=32, norm_cfg=norm_cfg),
                decode_head=dict(
                    type='UPerHead',
                    in_channels=[32] * 4,
                    in_index=[0, 1, 2, 3],
                    channels=16,
                    **head,
                ),
                auxiliary_head=dict(type='FCNHead', in_channels=32, in_index=2, channels=8, **head),
                test_cfg=dict(mode='whole'),
            )
        )
    return randomized(model)

"""Sizes are read off the tensors."""

import pytest
import torch

from mmbeitv2.checkpoints.naming import num_layers, with_prefix
from mmbeitv2.exchange.architecture import vit_architecture
from mmbeitv2.models import VisionTransformer

ARCHITECTURES = {
    'tokenizer': dict(
        img_size=64, patch_size=16, embed_dim=48, depth=3, num_heads=4, use_abs_pos_emb=True
    ),
    'pretraining': dict(
        img_size=48,
        patch_size=8,
        embed_dim=24,
        depth=2,
        num_heads=3,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
    ),
    'classifier': dict(
        img_size=32,
        embed_dim=24,
        depth=2,
        num_heads=2,
        mlp_ratio=2.0,
        init_values=1e-5,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
    ),
}


@pytest.mark.parametrize('name', ARCHITECTURES)
def test_arguments_rebuild_the_model(name):
    model = VisionTransformer(**ARCHITECTURES[name])
    model.init_weights()
    found = vit_architecture(model.state_dict(), num_heads=model.num_heads)
    assert {k: found[k] for k in ARCHITECTURES[name]} == pytest.approx(ARCHITECTURES[name])
    VisionTransformer(**found).load_state_dict(model.state_dict(), strict=True)


@pytest.mark.parametrize('name', ['pretraining', 'classifier'])
def test_bias_tables_show_the_heads(name):
    model = VisionTransformer(**ARCHITECTURES[name])
    assert vit_architecture(model.state_dict())['num_heads'] == model.num_heads


def test_heads_are_64_wide_where_nothing_shows_them():
    model = VisionTransformer(img_size=32, embed_dim=192, depth=1, num_heads=3)
    assert vit_architecture(model.state_dict())['num_heads'] == 3


def test_width_without_heads_of_64_asks_for_their_number():
    model = VisionTransformer(**ARCHITECTURES['tokenizer'])
    state = model.state_dict()
    del state['_extra_state']
    with pytest.raises(ValueError, match=r'width 48 .* give num_heads'):
        vit_architecture(state)


@pytest.mark.parametrize(
    ('layout', 'prefix'),
    [
        ('pretrain ViT-B/16 (beitv2_base_patch16_224_pt1k layout)', ''),
        ('classifier ViT-B/16 (…_ft1k layout)', ''),
        ('tokenizer vqkd_encoder_base_decoder_3x768x12_clip (without teacher_model.*)', 'encoder.'),
    ],
)
def test_official_files(layout, prefix, official_layouts):
    state = {n: torch.zeros(1).expand(shape) for n, shape in official_layouts[layout].items()}
    found = vit_architecture(with_prefix(state, prefix))
    assert found['img_size'] == 224
    assert found['patch_size'] == 16
    assert (found['embed_dim'], found['depth'], found['num_heads']) == (768, 12, 12)


def test_layers_are_counted_by_number():
    names = ['blocks.0.a', 'blocks.10.a', 'blocks.2.a', 'more.blocks.30.a', 'blocksx.40.a']
    state = dict.fromkeys(names, torch.zeros(1))
    assert num_layers(state, 'blocks') == 11
    assert num_layers(state, 'cls_pt_layers') == 0

"""Checkpoints are recognised by their tensors and come out under our names, complete."""

import pytest
import torch
from torch import nn

from mmbeitv2.checkpoints.translation import (
    merge_qkv,
    open_checkpoint,
    split_qkv,
    tokenizer_prefix,
    translate,
)
from mmbeitv2.models import VQKD, BEiTV2, BEiTViT, VisionTransformer

LAYOUTS = {
    'pretrain ViT-B/16 (beitv2_base_patch16_224_pt1k layout)': 'pretraining',
    'classifier ViT-B/16 (…_ft1k layout)': 'classifier',
    'tokenizer vqkd_encoder_base_decoder_3x768x12_clip (without teacher_model.*)': 'tokenizer',
}


def official_state(golden, name):
    prefix = 'state/'
    values = golden(name)
    return {n.removeprefix(prefix): v for n, v in values.items() if n.startswith(prefix)}


@pytest.mark.parametrize('layout', LAYOUTS)
def test_official_files_are_recognised(layout, official_layouts):
    state = {n: torch.zeros(1).expand(shape) for n, shape in official_layouts[layout].items()}
    checkpoint = translate(state, 'file.pth')
    assert (checkpoint.project, checkpoint.kind) == ('official', LAYOUTS[layout])


def test_official_pretraining_is_ours_without_the_tokenizer(golden, beitv2_config):
    official = official_state(golden, 'pretrain_tiny')
    del beitv2_config['target_generator']
    beitv2_config['neck']['layer'] = 2
    model = BEiTV2(**beitv2_config)
    model.load_state_dict(translate(official, 'file.pth').state, strict=True)
    # Within backbone, neck and head the official names are kept.
    ours = {name.split('.', 1)[1]: value for name, value in model.state_dict().items()}
    learned = {n: v for n, v in official.items() if not n.endswith('relative_position_index')}
    assert learned.keys() == ours.keys() - {'_extra_state'}
    assert all(torch.equal(ours[name], value) for name, value in learned.items())


def test_official_tokenizer_is_ours(golden, vqkd_config):
    state = official_state(golden, 'vqkd_tiny')
    state['quantize.cluster_size'] = torch.full((64,), 5.0)
    model = VQKD(**vqkd_config)
    model.load_state_dict(translate(state, 'file.pth').state, strict=True)
    assert (model.quantize.embedding.cluster_size == 5).all()


def test_attention_without_biases_has_biases_of_zero():
    model = VisionTransformer(img_size=32, embed_dim=24, depth=2, num_heads=2)
    state = {n: v for n, v in model.state_dict().items() if not n.endswith(('q_bias', 'v_bias'))}
    checkpoint = translate(state, 'file.pth')
    assert checkpoint.filled == [
        f'backbone.blocks.{i}.attn.{x}_bias' for i in range(2) for x in 'qv'
    ]
    assert all((checkpoint.state[name] == 0).all() for name in checkpoint.filled)


def test_projections_are_joined_and_split():
    state = {'blocks.0.attn.qkv.weight': torch.randn(12, 4)}
    state.update({f'blocks.0.attn.{x}_bias': torch.randn(4) for x in 'qv'})
    split = split_qkv(state)
    assert sorted(split) == sorted(
        f'blocks.0.attn.{x}' for x in ('q.weight', 'k.weight', 'v.weight', 'q.bias', 'v.bias')
    )
    merged = merge_qkv(split)
    assert merged.keys() == state.keys()
    assert all(torch.equal(merged[name], state[name]) for name in state)


def test_bias_on_keys_changes_nothing():
    """So that dropping it is exact."""
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    nn.init.normal_(attention.in_proj_bias)
    x = torch.randn(2, 5, 8)
    expected = attention(x, x, x)[0]
    merged = merge_qkv({'attn.qkv.bias': attention.in_proj_bias.detach().clone()})
    assert sorted(merged) == ['attn.q_bias', 'attn.v_bias']
    with torch.no_grad():
        attention.in_proj_bias.copy_(
            torch.cat([merged['attn.q_bias'], torch.zeros(8), merged['attn.v_bias']])
        )
    torch.testing.assert_close(attention(x, x, x)[0], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('wrapper', ['', 'module.', '_orig_mod.'])
def test_wrappers_are_taken_off(wrapper, beitv2):
    state = {f'{wrapper}{name}': value for name, value in beitv2.state_dict().items()}
    assert translate(state, 'file.pth').state.keys() == beitv2.state_dict().keys()


def test_backbone_within_a_larger_model_by_its_prefix(tmp_path):
    backbone = BEiTViT(arch=dict(embed_dim=24, depth=1, num_heads=2), img_size=32)
    state = {f'student.{name}': value for name, value in backbone.state_dict().items()}
    torch.save(state, tmp_path / 'file.pth')
    with pytest.raises(ValueError, match=r'holds student\.cls_token'):
        open_checkpoint(tmp_path / 'file.pth')
    found = open_checkpoint(tmp_path / 'file.pth', prefix='student.')
    assert found.state.keys() == {f'backbone.{name}' for name in backbone.state_dict()}


def test_other_models_are_refused_by_name():
    state = nn.Linear(2, 2).state_dict()
    with pytest.raises(ValueError, match=r'no checkpoint of a BEiT model .*official.*weight, bias'):
        translate(state, 'file.pth')


def test_aggregation_layer_of_the_papers_models(official_layouts):
    layout = official_layouts[next(iter(LAYOUTS))]
    state = {name: torch.zeros(1).expand(shape) for name, shape in layout.items()}
    assert int(translate(state, 'file.pth').state['neck._extra_state']) == 9


def test_tokenizer_alone_or_inside_pretraining(vqkd, beitv2, as_checkpoint, classifier):
    assert tokenizer_prefix(as_checkpoint(vqkd.state_dict())) == ''
    assert tokenizer_prefix(as_checkpoint(beitv2.state_dict())) == 'target_generator.'
    with pytest.raises(ValueError, match=r'file\.pth \(mmbeitv2 classifier\) holds no tokenizer'):
        tokenizer_prefix(as_checkpoint(classifier[1]))

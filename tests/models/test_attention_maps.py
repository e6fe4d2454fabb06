"""The attention that is shown is the one that is computed."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmbeitv2.errors import InputError
from mmbeitv2.models import VisionTransformer
from mmbeitv2.models.attention_maps import (
    attention_weights,
    cls_attention,
    position_bias,
    queries_keys_values,
)

BIASES = dict(
    absolute={},
    shared=dict(use_abs_pos_emb=False, use_shared_rel_pos_bias=True),
    own=dict(use_abs_pos_emb=False, use_rel_pos_bias=True),
    both=dict(use_shared_rel_pos_bias=True, use_rel_pos_bias=True),
)


@pytest.fixture(params=BIASES.values(), ids=BIASES.keys())
def vit(request):
    """Weights, biases and positions are all random: none is where it starts, at 0."""
    vit = VisionTransformer(img_size=64, embed_dim=48, depth=3, num_heads=4, **request.param)
    for parameter in vit.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return vit.eval()


@pytest.mark.parametrize('with_bias', [False, True])
def test_weights_are_those_of_the_fused_attention(with_bias):
    q, k, v = torch.randn(3, 2, 4, 17, 12)
    bias = torch.randn(4, 17, 17) if with_bias else None
    mask = None if bias is None else bias.expand(2, -1, -1, -1)
    fused = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    assert_close(attention_weights(q, k, bias) @ v, fused, atol=1e-6, rtol=0)


@torch.no_grad()
def test_a_layer_computes_with_these_weights(vit, images):
    x, grid = vit.embed(images)
    shared, block = vit.shared_bias(grid), vit.blocks[0]
    q, k, v = queries_keys_values(block, x)
    weights = attention_weights(q, k, position_bias(block, grid, shared))
    found = block.attn.proj((weights @ v).transpose(1, 2).flatten(2))
    expected = block.attn(block.norm1(x), grid, shared)
    assert_close(found, expected, atol=1e-6 * expected.abs().max().item() * 10, rtol=0)


@torch.no_grad()
def test_attention_of_cls_is_that_of_the_layer_asked_for(vit, images):
    found = cls_attention(vit, images)
    assert found.shape == (2, 4, 4, 4)
    assert (found.sum((2, 3)) < 1).all()
    assert torch.equal(found, cls_attention(vit, images, layer=2))
    assert not torch.allclose(found, cls_attention(vit, images, layer=0))
    x, grid = vit.embed(images)
    x = vit.layers(x, grid, vit.shared_bias(grid), stop=2)
    q, k, _ = queries_keys_values(vit.blocks[2], x)
    whole = attention_weights(q, k, position_bias(vit.blocks[2], grid, vit.shared_bias(grid)))
    assert_close(found.flatten(2), whole[:, :, 0, 1:], atol=1e-6, rtol=0)


def test_another_size_of_image_has_its_own_grid(vit):
    assert cls_attention(vit, torch.rand(1, 3, 96, 80)).shape == (1, 4, 6, 5)


def test_a_layer_that_is_not_there_is_refused(vit, images):
    with pytest.raises(InputError, match='layer is 3, allowed: -3 to 2'):
        cls_attention(vit, images, layer=3)

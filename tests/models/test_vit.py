"""The vision Transformer: what is asked is computed, and nothing else changes."""

import math

import pytest
import torch
from half_on_cpu import FLOAT16
from torch import nn
from torch.testing import assert_close

from mmbeitv2.models import VisionTransformer
from mmbeitv2.models.attention import Attention, take_tokens
from mmbeitv2.models.layers import Block
from mmbeitv2.models.position import expand_relative_position_bias

GRID = (4, 4)
POSITIONS = {
    'absolute': dict(use_abs_pos_emb=True),
    'shared bias': dict(use_abs_pos_emb=False, use_shared_rel_pos_bias=True),
    'bias per layer': dict(use_abs_pos_emb=False, use_rel_pos_bias=True),
    'both biases': dict(use_abs_pos_emb=False, use_shared_rel_pos_bias=True, use_rel_pos_bias=True),
}


def make_vit(**kwargs):
    model = VisionTransformer(
        **{**dict(img_size=64, embed_dim=48, depth=3, num_heads=4, init_values=0.1), **kwargs}
    )
    model.init_weights()
    for name, parameter in model.named_parameters():
        if name.endswith('bias_table') or name.endswith('_bias'):
            nn.init.normal_(parameter, std=0.5)
    return model


@pytest.fixture(params=POSITIONS, ids=list(POSITIONS))
def vit(request):
    return make_vit(**POSITIONS[request.param])


@pytest.fixture
def queries():
    return torch.stack([torch.randperm(17)[:6] for _ in range(2)])


def test_queries_give_the_outputs_of_the_whole_layer(vit, images, queries):
    x, grid = vit.embed(images)
    bias = vit.shared_bias(grid)
    everything = vit.layers(x, grid, bias)
    chosen = vit.layers(x, grid, bias, queries=queries)
    assert_close(chosen, take_tokens(everything, queries), atol=1e-5, rtol=1e-5)


def test_queries_give_the_gradients_of_the_whole_layer(vit, images, queries):
    gradients = []
    for use_queries in (False, True):
        vit.zero_grad()
        x, grid = vit.embed(images)
        bias = vit.shared_bias(grid)
        if use_queries:
            out = vit.layers(x, grid, bias, queries=queries)
        else:
            out = take_tokens(vit.layers(x, grid, bias), queries)
        out.pow(2).sum().backward()
        gradients.append({n: p.grad for n, p in vit.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        assert_close(gradients[1][name], expected, atol=1e-4, rtol=1e-4, msg=name)


def test_patch_tokens_at_positions_equal_those_of_all(vit, images):
    positions = torch.stack([torch.randperm(16)[:5] for _ in range(2)])
    everything, grid = vit.patch_tokens(images)
    chosen, _ = vit.patch_tokens(images, positions)
    assert grid == GRID
    assert_close(chosen, take_tokens(everything, positions), atol=1e-5, rtol=1e-5)


def test_attention_is_softmax_of_scaled_products_plus_bias():
    attention = Attention(12, 3, GRID)
    for parameter in attention.parameters():
        nn.init.normal_(parameter, std=0.3)
    x, shared = torch.randn(2, 17, 12), torch.randn(3, 17, 17)
    qkv = (x @ attention.qkv.weight.T).view(2, 17, 3, 3, 4)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    q = q + attention.q_bias.view(3, 1, 4)
    v = v + attention.v_bias.view(3, 1, 4)
    logits = q @ k.transpose(-1, -2) / math.sqrt(4)
    logits = (
        logits
        + shared
        + expand_relative_position_bias(attention.relative_position_bias_table, GRID)
    )
    expected = attention.proj((logits.softmax(-1) @ v).transpose(1, 2).reshape(2, 17, 12))
    assert_close(attention(x, GRID, shared), expected, atol=1e-5, rtol=1e-5)


def test_drop_path_drops_each_branch_once():
    """One survival factor per branch and sample: 0 or 1 / keep, never their product."""
    block = Block(8, 2, drop_path=0.5).train()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    nn.init.ones_(block.attn.proj.bias)
    nn.init.constant_(block.mlp.fc2.bias, 100.0)
    out = block(torch.zeros(4000, 5, 8), GRID)[:, 0, 0]
    attention, mlp = out.remainder(100).round(), (out / 100).floor()
    assert set(attention.tolist()) == {0.0, 2.0}
    assert set(mlp.tolist()) == {0.0, 2.0}
    assert 0.45 < (attention > 0).float().mean() < 0.55
    assert 0.45 < (mlp > 0).float().mean() < 0.55
    assert 0.2 < ((attention > 0) & (mlp > 0)).float().mean() < 0.3


def test_drop_path_grows_linearly_with_depth():
    vit = make_vit(depth=5, drop_path_rate=0.2)
    rates = [block.drop_path.drop_prob for block in vit.blocks]
    assert rates == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_mask_replaces_exactly_the_masked_patches(images, mask):
    vit = make_vit(use_mask_token=True, use_abs_pos_emb=False)
    plain, _ = vit.embed(images)
    masked, _ = vit.embed(images, mask)
    assert torch.equal(masked[:, 0], plain[:, 0])
    assert torch.equal(masked[:, 1:][~mask], plain[:, 1:][~mask])
    assert torch.equal(masked[:, 1:][mask], vit.mask_token[0].expand(int(mask.sum()), -1))


@pytest.mark.parametrize('precision', [torch.bfloat16, FLOAT16], ids=str)
@pytest.mark.parametrize('masked', [False, True])
def test_tokens_between_layers_stay_float32_under_autocast(vit, images, mask, precision, masked):
    vit.mask_token = nn.Parameter(torch.randn(1, 1, 48)) if masked else None
    seen = []
    for block in vit.blocks:
        block.register_forward_hook(lambda module, args, output: seen.extend((args[0], output)))
    with torch.autocast('cpu', precision):
        x, grid = vit.embed(images, mask if masked else None)
        vit.layers(x, grid, vit.shared_bias(grid))
    assert {tokens.dtype for tokens in seen} == {torch.float32}


@pytest.mark.parametrize('precision', [torch.bfloat16, FLOAT16], ids=str)
def test_class_and_mask_tokens_are_not_rounded_under_autocast(images, mask, precision):
    model = make_vit(use_abs_pos_emb=False, use_mask_token=True)
    with torch.autocast('cpu', precision):
        x, _ = model.embed(images, mask)
    assert torch.equal(x[:, 0], model.cls_token[0].expand(2, -1))
    assert torch.equal(x[:, 1:][mask], model.mask_token[0].expand(12, -1))


def test_a_model_of_less_precision_keeps_it(images):
    model = make_vit(use_abs_pos_emb=False).bfloat16()
    assert model.embed(images.bfloat16())[0].dtype == torch.bfloat16


def test_mask_of_another_grid_is_refused(images):
    vit = make_vit(use_mask_token=True)
    with pytest.raises(ValueError, match=r'\(2, 9\).*\(2, 16\).*mask generator to \(4, 4\)'):
        vit.embed(images, torch.zeros(2, 9, dtype=torch.bool))


@pytest.mark.parametrize(
    ('size', 'grid'), [((64, 64), (4, 4)), ((96, 48), (6, 3)), ((70, 50), (5, 4))]
)
def test_any_image_size(vit, size, grid):
    tokens, found = vit.patch_tokens(torch.randn(2, 3, *size))
    assert found == grid
    assert tokens.shape == (2, grid[0] * grid[1], 48)
    assert tokens.isfinite().all()


def test_sides_are_padded_with_zeros_at_the_bottom_right(vit):
    images = torch.randn(1, 3, 70, 50)
    padded = torch.zeros(1, 3, 80, 64)
    padded[..., :70, :50] = images
    assert torch.equal(vit.patch_tokens(images)[0], vit.patch_tokens(padded)[0])


def test_gradient_checkpointing_gives_equal_gradients(images):
    gradients = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        vit = make_vit(with_cp=with_cp, drop_path_rate=0.3, use_shared_rel_pos_bias=True).train()
        torch.manual_seed(1)
        vit.patch_tokens(images)[0].square().mean().backward()
        gradients.append({n: p.grad for n, p in vit.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, expected in gradients[0].items():
        assert_close(gradients[1][name], expected, atol=1e-7, rtol=1e-5, msg=name)


def test_shared_bias_is_copied_to_every_layer():
    shared = make_vit(use_abs_pos_emb=False, use_shared_rel_pos_bias=True)
    own = make_vit(use_abs_pos_emb=False, use_rel_pos_bias=True)
    state = own.expand_shared_bias(shared.state_dict())
    table = shared.rel_pos_bias.relative_position_bias_table
    for i in range(3):
        assert torch.equal(state[f'blocks.{i}.attn.relative_position_bias_table'], table)


def test_positions_are_resized_to_another_grid():
    small = make_vit(use_shared_rel_pos_bias=True)
    large = make_vit(use_shared_rel_pos_bias=True, img_size=(96, 80))
    state = large.resize_positions(small.state_dict())
    assert state['pos_embed'].shape == large.pos_embed.shape
    large.load_state_dict(state, strict=True)
    image = torch.randn(1, 3, 96, 80)
    assert_close(large.patch_tokens(image)[0], small.patch_tokens(image)[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ('kwargs', 'message'),
    [
        (dict(img_size=60), r'\(60, 60\) must be a multiple of patch_size 16'),
        (dict(embed_dim=50), r'embed_dim 50 must be a multiple of num_heads 4'),
        (dict(final_norm='layer'), r"final_norm is 'layer', but must be one of"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(kwargs, message):
    with pytest.raises(ValueError, match=message):
        make_vit(**kwargs)

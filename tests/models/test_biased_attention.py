"""Attention with a learned bias, head by head: the same numbers as from whole matrices."""

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from mmbeitv2.models.attention import Attention
from mmbeitv2.models.biased_attention import biased_attention, relative_position_attention
from mmbeitv2.models.position import expand_relative_position_bias, num_relative_positions

GRID = (3, 5)
HEADS, TOKENS, WIDTH = 3, 16, 8


def inputs(dtype=torch.float32, table_dtype=torch.float32):
    q, k, v = (torch.randn(2, HEADS, TOKENS, WIDTH, dtype=dtype) for _ in range(3))
    table = torch.randn(num_relative_positions(GRID), HEADS, dtype=table_dtype)
    return [tensor.requires_grad_() for tensor in (q, k, v, table)]


def from_whole_matrices(q, k, v, table):
    bias = expand_relative_position_bias(table, GRID).to(q.dtype)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.unsqueeze(0))


def results(attend, tensors, weights):
    out = attend(*tensors)
    return out, *torch.autograd.grad((out * weights).sum(), tensors)


def test_output_and_gradients_are_those_of_whole_matrices():
    tensors = inputs()
    weights = torch.randn(2, HEADS, TOKENS, WIDTH)
    found = results(lambda *t: relative_position_attention(*t, GRID), tensors, weights)
    for a, b in zip(found, results(from_whole_matrices, tensors, weights)):
        assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_gradients_are_the_numerical_ones():
    tensors = inputs(torch.float64, torch.float64)
    assert torch.autograd.gradcheck(lambda *t: relative_position_attention(*t, GRID), tensors)


def test_table_keeps_its_precision_under_bfloat16():
    tensors = inputs(torch.bfloat16)
    weights = torch.randn(2, HEADS, TOKENS, WIDTH)
    found = results(lambda *t: relative_position_attention(*t, GRID), tensors, weights)
    exact = results(from_whole_matrices, [t.float() for t in tensors], weights)
    assert [t.dtype for t in found] == [torch.bfloat16] * 4 + [torch.float32]
    for a, b in zip(found, exact):
        assert_close(a.float(), b, atol=0.05, rtol=0.05)


def test_no_matrix_of_all_pairs_is_kept_for_the_backward_pass():
    grid = (12, 12)
    tokens = 1 + 12 * 12
    attention = Attention(HEADS * WIDTH, HEADS, grid)
    kept = []

    def keep(tensor):
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attention(torch.randn(2, tokens, HEADS * WIDTH), grid)
    # The largest activation is that of queries, keys and values together.
    assert 2 * tokens * HEADS * WIDTH <= max(kept) <= 3 * 2 * tokens * HEADS * WIDTH
    assert max(kept) < HEADS * tokens**2


@pytest.mark.parametrize('grid', [(3, 5), (5, 7), (2, 2)])
def test_layer_gives_the_same_with_and_without_the_fused_path(grid):
    """A shared bias of zero takes the path through whole matrices."""
    tokens = 1 + grid[0] * grid[1]
    attention = Attention(HEADS * WIDTH, HEADS, GRID)
    torch.nn.init.normal_(attention.relative_position_bias_table)
    x = torch.randn(2, tokens, HEADS * WIDTH)
    gradients = []
    for shared in (None, torch.zeros(HEADS, tokens, tokens)):
        attention.zero_grad()
        out = attention(x, grid, shared)
        out.square().sum().backward()
        gradients.append({n: p.grad for n, p in attention.named_parameters()} | {'out': out})
    for name, expected in gradients[1].items():
        assert_close(gradients[0][name], expected, atol=1e-5, rtol=1e-4, msg=name)


def test_given_bias_has_the_output_and_gradients_of_whole_matrices():
    q, k, v, _ = inputs()
    bias = torch.randn(HEADS, TOKENS, TOKENS, requires_grad=True)
    weights = torch.randn(2, HEADS, TOKENS, WIDTH)
    found = results(biased_attention, (q, k, v, bias), weights)

    def whole(q, k, v, bias):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.unsqueeze(0))

    for a, b in zip(found, results(whole, (q, k, v, bias), weights)):
        assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_layer_with_a_shared_bias_keeps_no_matrix_of_all_pairs_of_its_own():
    tokens = 145
    attention = Attention(HEADS * WIDTH, HEADS)
    bias = torch.randn(HEADS, tokens, tokens, requires_grad=True)
    kept = []

    def keep(tensor):
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        attention(torch.randn(2, tokens, HEADS * WIDTH), (12, 12), bias)
    others = [t for t in kept if t.data_ptr() != bias.data_ptr()]
    assert max(t.numel() for t in others) < HEADS * tokens**2

"""The step of the official release's structure, on our weights and without our shortcuts.

As the release runs it: every token in every layer, attention by its formula with all pairs of
tokens in memory, the bias gathered by an index once a step, logits at masked positions only, and
the whole tokenizer in eval mode.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.models import BEiTV2
from mmbeitv2.models.attention import Attention, take_tokens
from mmbeitv2.models.layers import Block
from mmbeitv2.models.masks import masked_positions


def losses(model: BEiTV2, views: list[Tensor], data_samples: list) -> dict[str, Tensor]:
    """Both losses of Eq. 3.

    Args:
        model: whose layers are run; :func:`use_plain_layers` has been called on it.
        views: the student's and the tokenizer's, float ``(B, 3, H, W)``.
        data_samples: with ``mask``.
    """
    backbone, neck, head = model.backbone, model.neck, model.head
    mask, positions = masked_positions(data_samples, views[0].device)
    codes = model.target_generator.tokenize(views[1]).flatten(1).gather(1, positions)
    x, grid = backbone.embed(views[0], mask)
    bias = _gathered_bias(backbone.rel_pos_bias.relative_position_bias_table, x.shape[1])
    for i, block in enumerate(backbone.blocks):
        if i == neck.layer:
            x_l = x
        x = block(x, grid, bias)
    aggregated = torch.cat([x[:, :1], x_l[:, 1:]], dim=1)
    for block in neck.cls_pt_layers:
        aggregated = block(aggregated, grid, bias)
    found = {}
    for name, tokens in (('mim', x), ('cls', aggregated)):
        chosen = take_tokens(backbone.norm(tokens), positions + 1)
        found[f'loss_{name}'], found[f'acc_{name}'] = head.loss(head(chosen), codes)
    return found


def _gathered_bias(table: Tensor, length: int) -> Tensor:
    # Which rows the index names changes no cost.
    index = torch.zeros(length * length, dtype=torch.int64, device=table.device)
    return table[index].view(length, length, -1).permute(2, 0, 1).contiguous()


class PlainAttention(Attention):
    """Attention by its formula."""

    def forward(self, x, grid, shared_bias=None, queries=None, norm=None):
        """As the parent's, for every token."""
        x = norm(x)
        bias = torch.cat([self.q_bias, torch.zeros_like(self.v_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias)
        qkv = qkv.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k, v = qkv.unbind(0)
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        if shared_bias is not None:
            scores = scores + shared_bias
        return self.proj((scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2))


class PlainBlock(Block):
    """Layer that keeps what its backward pass reads."""

    def forward(self, x, grid, shared_bias=None, queries=None):
        """As the parent's, for every token."""
        x = x + self._branch(self.attn(x, grid, shared_bias, norm=self.norm1), self.gamma_1)
        hidden = F.gelu(self.mlp.fc1(self.norm2(x)))
        return x + self._branch(self.mlp.fc2(hidden), self.gamma_2)

    def _branch(self, x: Tensor, gamma: Tensor | None) -> Tensor:
        return self.drop_path(x if gamma is None else gamma * x)


def use_plain_layers(model: BEiTV2) -> BEiTV2:
    """Make every layer of a model, the tokenizer's too, plain in place."""
    for module in model.modules():
        if type(module) is Block:
            module.__class__ = PlainBlock
        elif type(module) is Attention:
            module.__class__ = PlainAttention
    return model

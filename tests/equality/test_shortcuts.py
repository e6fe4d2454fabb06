"""Work that is left out changes neither loss nor gradients.

The plain computation stands here as the paper writes it: every token in every layer, attention by
its formula, the bias anew in every layer, both views from pictures of their own.
"""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor

from mmbeitv2.datasets import BEiTV2DataPreprocessor
from mmbeitv2.models import BEiTV2
from mmbeitv2.models.attention import take_tokens

pytestmark = pytest.mark.equality
PHOTO = Path(__file__).parents[2] / 'demo/assets/backgrounds/train/path.jpg'
BOX = (100, 50, 380, 290)


def softmax_attention(attn, x, grid, bias):
    """softmax(q kᵀ / √d + bias) v for every token."""
    heads = (x.shape[0], x.shape[1], attn.num_heads, -1)
    q, k, v = F.linear(x, attn.qkv.weight).chunk(3, dim=-1)
    q, v = q + attn.q_bias, v + attn.v_bias
    q, k, v = (t.view(heads).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias).softmax(dim=-1)
    return attn.proj((weights @ v).transpose(1, 2).flatten(2))


def fused_attention(attn, x, grid, bias):
    """The product's, for every token."""
    return attn(x, grid, bias)


def plain_losses(model, views, mask, attention):
    """Both losses of Eq. 3, from all tokens of all layers.

    Args:
        model: :class:`BEiTV2`.
        views: the student's and the tokenizer's, float (B, 3, H, W).
        mask: bool (B, N).
        attention: one of the two above.
    """
    backbone, neck, head = model.backbone, model.neck, model.head

    def layer(block, x, grid):
        x = x + block.gamma_1 * attention(
            block.attn, block.norm1(x), grid, backbone.shared_bias(grid)
        )
        hidden = F.gelu(block.mlp.fc1(block.norm2(x)))
        return x + block.gamma_2 * block.mlp.fc2(hidden)

    codes = model.target_generator.tokenize(views[1]).flatten(1)[mask]
    x, grid = backbone.embed(views[0], mask)
    for i, block in enumerate(backbone.blocks):
        if i == neck.layer:
            x_l = x
        x = layer(block, x, grid)
    aggregated = torch.cat([x[:, :1], x_l[:, 1:]], dim=1)
    for block in neck.cls_pt_layers:
        aggregated = layer(block, aggregated, grid)
    norm = neck.cls_pt_norm or backbone.norm
    cls_pt_lm_head = head.cls_pt_lm_head or head.lm_head
    return dict(
        loss_mim=F.cross_entropy(head.lm_head(backbone.norm(x)[:, 1:][mask]), codes),
        loss_cls=F.cross_entropy(cls_pt_lm_head(norm(aggregated)[:, 1:][mask]), codes),
    )


def losses_and_gradients(model, losses):
    """Losses by name, and the gradients of their sum by parameter."""
    model.zero_grad()
    losses = {name: value for name, value in losses.items() if name.startswith('loss')}
    sum(losses.values()).backward()
    gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    return losses, gradients


@pytest.fixture
def assert_same_training(assert_equal_within):
    """Compare (losses, gradients) with and without a shortcut."""

    def check(shortcut, on, off):
        assert_equal_within(f'{shortcut}, both losses', 'plain', on[0], off[0], atol=1e-6)
        assert_equal_within(f'{shortcut}, every gradient', 'plain', on[1], off[1], rtol=1e-5)

    return check


@pytest.fixture(params=[True, False], ids=['shared head', 'separate heads'])
def model(request, beitv2_config, randomise):
    beitv2_config['neck']['shared_norm'] = beitv2_config['head']['shared'] = request.param
    return randomise(BEiTV2(**beitv2_config))


@pytest.fixture
def views(images):
    """Student's and tokenizer's view, float (2, 3, 64, 64)."""
    return [torch.randn(2, 3, 64, 64), images]


@pytest.mark.parametrize('attention', [fused_attention, softmax_attention])
def test_masked_queries(model, attention, views, mask, masked_samples, assert_same_training):
    """In the last layers of backbone, neck and tokenizer; with both kinds of attention."""
    on = losses_and_gradients(model, model.loss(views, masked_samples))
    off = losses_and_gradients(model, plain_losses(model, views, mask, attention))
    assert_same_training(f'masked queries, {attention.__name__.replace("_", " ")}', on, off)


def test_fused_attention(model, views, mask, assert_same_training):
    on, off = (
        losses_and_gradients(model, plain_losses(model, views, mask, attention))
        for attention in (fused_attention, softmax_attention)
    )
    assert_same_training('fused attention', on, off)


@torch.no_grad()
def test_masked_queries_of_the_tokenizer(model, images, mask, assert_equal_within):
    tokenizer = model.target_generator
    positions = mask.nonzero()[:, 1].view(2, -1)
    everything, _ = tokenizer.encode(images)
    chosen, _ = tokenizer.encode(images, positions)
    what = 'masked queries of the tokenizer'
    assert_equal_within(
        f'{what}, vectors', 'plain', chosen, take_tokens(everything, positions), rtol=1e-5
    )
    codes = tokenizer.tokenize(images).flatten(1)
    assert len(codes.unique()) > 4
    assert_equal_within(
        f'{what}, codes',
        'plain',
        tokenizer.tokenize_at(images, positions),
        codes.gather(1, positions),
        atol=0,
    )


def test_one_crop_for_two_views(model, mask, masked_samples, assert_same_training):
    """The official pipeline resizes the same box twice, and normalises each picture by itself."""
    photo = Image.open(PHOTO).convert('RGB')
    boxes = [BOX, tuple(side + 20 for side in BOX)]

    def picture(box):
        return photo.crop(box).resize((64, 64), Image.Resampling.BICUBIC)

    to_student = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    to_tensor = transforms.ToTensor()
    two_pictures = [
        torch.stack([to_student(to_tensor(picture(box))) for box in boxes]),
        torch.stack([to_tensor(picture(box)) * 2 - 1 for box in boxes]),
    ]
    one_crop = BEiTV2DataPreprocessor()(
        dict(inputs=[pil_to_tensor(picture(box)) for box in boxes])
    )['inputs']
    on, off = (
        losses_and_gradients(model, model.loss(views, masked_samples))
        for views in (one_crop, two_pictures)
    )
    assert_same_training('one crop for two views', on, off)

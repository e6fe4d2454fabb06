"""The patch embedding as one product of matrices: the convolution's numbers, where it is one."""

from functools import partial

import pytest
import torch
from torch import nn

from mmbeitv2.models import layers
from mmbeitv2.models.layers import PatchEmbed
from mmbeitv2.models.patches import is_patch_projection, project_patches

CLOSE = partial(torch.testing.assert_close, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ('side', 'channels', 'size'), [(16, 3, (32, 48)), (1, 8, (5, 7)), (4, 3, (8, 12))]
)
@pytest.mark.parametrize('bias', [True, False])
def test_product_and_gradients_are_those_of_the_convolution(side, channels, size, bias):
    torch.manual_seed(0)
    proj = nn.Conv2d(channels, 24, side, side, bias=bias)
    images = torch.randn(2, channels, *size, requires_grad=True)
    wanted = [images, *proj.parameters()]
    expected = proj(images)
    found, grid = project_patches(images, proj)
    assert grid == tuple(expected.shape[2:])
    expected = expected.flatten(2).transpose(1, 2)
    CLOSE(found, expected)
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad(out, wanted, weights) for out in (found, expected)]
    for a, b in zip(*gradients, strict=True):
        CLOSE(a, b)


def watched():
    proj = nn.Conv2d(4, 8, 4, 4)
    proj.register_forward_hook(lambda *args: None)
    return proj


class Adapted(nn.Conv2d):
    """Somebody's own."""


@pytest.mark.parametrize(
    'proj',
    [
        nn.Conv2d(4, 8, 4, 2),
        nn.Conv2d(4, 8, 7, 4),
        nn.Conv2d(4, 8, 2, 2),
        nn.Conv2d(4, 8, 4, 4, padding=1),
        nn.Conv2d(4, 8, 4, 4, padding='valid'),
        nn.Conv2d(4, 8, 4, 4, dilation=2),
        nn.Conv2d(4, 8, 4, 4, groups=2),
        Adapted(4, 8, 4, 4),
        nn.Sequential(nn.Conv2d(4, 8, 4, 4)),
        watched(),
    ],
    ids=lambda proj: f'{proj}'.replace('\n', ''),
)
def test_another_projection_is_called_as_it_is(proj):
    assert is_patch_projection(nn.Conv2d(4, 8, 4, 4), 4)
    assert not is_patch_projection(proj, 4)


@pytest.mark.parametrize(('device', 'calls'), [('cpu', 0), ('meta', 1)])
def test_only_a_cpu_convolves(monkeypatch, device, calls):
    seen = []
    product = layers.project_patches
    monkeypatch.setattr(layers, 'project_patches', lambda *a: seen.append(1) or product(*a))
    tokens, grid = PatchEmbed(4, 3, 8).to(device)(torch.zeros(2, 3, 9, 8, device=device))
    assert (tuple(tokens.shape), grid) == ((2, 6, 8), (3, 2))
    assert len(seen) == calls


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a_gpu_embeds_in_float32_as_the_cpu_does():
    torch.manual_seed(0)
    embed, images = PatchEmbed(16, 3, 64), torch.randn(2, 3, 64, 64)
    expected, _ = embed(images)
    found, _ = embed.cuda()(images.cuda())
    # TF32 would be off by 1e-3.
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-5)

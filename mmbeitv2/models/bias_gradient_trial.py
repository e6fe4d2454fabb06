"""Does the bias gradient of our own pay on this card, and is it right there? Tried, not assumed."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mmbeitv2.models.bias_gradient import learned_bias_attention

# Of gradients in half precision; a wrong index or a lost image is off by far more than rounding.
ALLOWED_ERROR = 2.0
REFERENCE_IMAGES = 4

Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Trial:
    """Attention with a learned bias, forward and backward: ours beside torch's own.

    Attributes:
        milliseconds: of ours and of torch's, medians.
        errors: of the bias's gradient, of ours and of torch's: norm of the difference from float32
            over the norm.
    """

    milliseconds: tuple[float, float]
    errors: tuple[float, float]

    @property
    def right(self) -> bool:
        """Whether ours is about as exact as torch's, which is in the same precision."""
        ours, theirs = self.errors
        return ours <= ALLOWED_ERROR * theirs

    @property
    def pays(self) -> bool:
        """Whether ours is right and faster."""
        return self.right and self.milliseconds[0] < self.milliseconds[1]

    def __str__(self) -> str:
        ours, theirs = self.milliseconds
        return (
            f'{ours:.2f} ms and {theirs:.2f} ms of torch’s own, gradients of the bias '
            f'{self.errors[0]:.1e} and {self.errors[1]:.1e} from those of float32'
        )


def try_kernels(
    batch: int,
    heads: int,
    tokens: int,
    width: int,
    dtype: torch.dtype,
    device: torch.device | str,
    turns: int = 10,
) -> Trial:
    """Run both ways on random vectors of a layer's sizes.

    Args:
        batch: images.
        heads: of the attention.
        tokens: T.
        width: of a head.
        dtype: of queries, keys and values.
        device: to try on.
        turns: timed runs of each.
    """
    generator = torch.Generator(device).manual_seed(0)
    q, k, v, weights = (
        torch.randn(batch, heads, tokens, width, device=device, generator=generator).to(dtype)
        for _ in range(4)
    )
    bias = torch.randn(heads, tokens, tokens, device=device, generator=generator)
    few = [t[:REFERENCE_IMAGES] for t in (q, k, v, weights)]
    exact = _bias_gradient(_by_softmax, *(t.float() for t in few), bias)
    ways: tuple[Attend, Attend] = (learned_bias_attention, _by_torch)
    errors = [
        ((_bias_gradient(attend, *few, bias) - exact).norm() / exact.norm()).item()
        for attend in ways
    ]
    times = [
        _milliseconds(partial(_gradients, attend, q, k, v, weights, bias), turns, device)
        for attend in ways
    ]
    return Trial((times[0], times[1]), (errors[0], errors[1]))


def _by_torch(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype).unsqueeze(0))


def _by_softmax(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
    return (q @ k.mT * q.shape[-1] ** -0.5 + bias).softmax(dim=-1) @ v


def _gradients(
    attend: Attend, q: Tensor, k: Tensor, v: Tensor, weights: Tensor, bias: Tensor
) -> tuple[Tensor, ...]:
    tensors = [t.detach().requires_grad_() for t in (q, k, v, bias)]
    return torch.autograd.grad(attend(*tensors), tensors, weights)


def _bias_gradient(attend: Attend, *tensors: Tensor) -> Tensor:
    return _gradients(attend, *tensors)[3].float()


def _milliseconds(step: Callable[[], object], turns: int, device: torch.device | str) -> float:
    """Median of ``turns`` runs after two that compile and warm up."""
    times = []
    for _ in range(2 + turns):
        _wait(device)
        begin = time.perf_counter()
        step()
        _wait(device)
        times.append(1000 * (time.perf_counter() - begin))
    return statistics.median(times[2:])


def _wait(device: torch.device | str) -> None:
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)

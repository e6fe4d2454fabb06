"""Vector quantizer of VQ-KD (Eq. 1), with a codebook that follows its vectors by moving average."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import all_gather, all_reduce, broadcast, get_rank, get_world_size
from torch import Tensor, nn

from mmbeitv2.checks import check_count, check_flag, check_number, is_count
from mmbeitv2.errors import InputError
from mmbeitv2.models.shortcuts import is_traced
from mmbeitv2.registry import MODELS

# Similarities held at a time, whatever the batch and the codebook: on a CPU as many as stay in its
# cache; on a GPU 256 MiB, since a host that starts many small kernels is slower than the GPU.
CHUNK_CPU, CHUNK_GPU = 2**19, 2**26
KMEANS_ITERATIONS = 10


def l2_normalize(x: Tensor) -> Tensor:
    """ℓ2-normalise the last dimension, in float32."""
    return F.normalize(x.float(), dim=-1)


def nearest_codes(z: Tensor, codebook: Tensor) -> Tensor:
    """Eq. 1: the code whose embedding is nearest; between unit vectors, the largest cosine.

    Args:
        z: float32 ``(N, D)``, unit vectors.
        codebook: float32 ``(K, D)``, unit vectors.

    Returns:
        int64 ``(N,)`` in 0 … K − 1; the first of codes that are equally near.
    """
    if is_traced():
        # Chunks would be counted for the example's batch, and a graph is to serve every other.
        return (z @ codebook.t()).argmax(dim=1)
    rows = max(1, (CHUNK_CPU if z.is_cpu else CHUNK_GPU) // codebook.shape[0])
    return torch.cat([_argmax(chunk @ codebook.t()) for chunk in z.split(rows)])


def _argmax(x: Tensor) -> Tensor:
    """``x.argmax(dim=1)``; on CPUs by the best block of columns and the best column in it.

    A maximum is computed with vector instructions there, its place is not.
    """
    if not x.is_cpu:
        return x.argmax(dim=1)
    blocks = x.unflatten(1, (-1, math.gcd(x.shape[1], 64)))
    block = blocks.amax(dim=2).argmax(dim=1)
    column = blocks[torch.arange(len(x), device=x.device), block].argmax(dim=1)
    return block * blocks.shape[2] + column


def count_codes(codes: Tensor, num_codes: int) -> Tensor:
    """How often every code occurs: float32 ``(num_codes,)`` of int64 codes of any shape."""
    codes = codes.flatten()
    # Not bincount, for whose size the host would wait for the GPU.
    ones = torch.ones_like(codes, dtype=torch.float32)
    return ones.new_zeros(num_codes).index_add_(0, codes, ones)


def sums_by_code(z: Tensor, codes: Tensor, num_codes: int) -> tuple[Tensor, Tensor]:
    """Count and add up the vectors of every code.

    Args:
        z: float32 ``(N, D)``.
        codes: int64 ``(N,)``.
        num_codes: K.

    Returns:
        Counts float32 ``(K,)`` and sums float32 ``(K, D)``.
    """
    sums = z.new_zeros(num_codes, z.shape[1]).index_add_(0, codes, z)
    return count_codes(codes, num_codes), sums


def spherical_kmeans(
    z: Tensor, num_codes: int, iterations: int = KMEANS_ITERATIONS
) -> tuple[Tensor, Tensor]:
    """Cluster unit vectors by cosine; starts from distinct vectors drawn at random.

    Args:
        z: float32 ``(N, D)``, unit vectors, N ≥ ``num_codes``.
        num_codes: K.
        iterations: number of assignments, 1 or more.

    Returns:
        Unit centres float32 ``(K, D)`` and vectors per centre float32 ``(K,)``.

    Raises:
        ValueError: no assignments.
    """
    if iterations < 1:
        raise InputError(f'iterations is {iterations}, allowed: 1 or more assignments.')
    centres = z[torch.randperm(z.shape[0], device=z.device)[:num_codes]]
    for _ in range(iterations):
        counts, sums = sums_by_code(z, nearest_codes(z, centres), num_codes)
        centres = torch.where(counts[:, None] > 0, l2_normalize(sums), centres)
    return centres, counts


def perplexity(counts: Tensor) -> Tensor:
    """Exponential of the entropy of code frequencies: how many codes are used evenly, 1 … K."""
    frequency = counts / counts.sum().clamp(min=1)
    return torch.special.entr(frequency).sum().exp()


class Codebook(nn.Module):
    """State of the codebook, under the official release's names.

    ``weight`` float32 (K, D): unit vectors. ``cluster_size`` float32 (K,): moving average of the
    vectors per step. ``initted`` float32 (1,): 1 once the weights are set.
    """

    weight: Tensor
    cluster_size: Tensor
    initted: Tensor

    def __init__(self, num_codes: int, code_dim: int, initted: bool) -> None:
        super().__init__()
        self.register_buffer('weight', l2_normalize(torch.randn(num_codes, code_dim)))
        self.register_buffer('cluster_size', torch.ones(num_codes))
        self.register_buffer('initted', torch.tensor([float(initted)]))


@MODELS.register_module()
class NormEMAQuantizer(nn.Module):
    """Replace vectors by the nearest of K codes; learn the codes by exponential moving average.

    In training mode a forward pass moves the codebook, by the same amount on every rank, because
    counts and sums are reduced over all ranks. In eval mode it changes no state and communicates
    nothing.

    Args:
        num_codes: K, size of the codebook.
        code_dim: D, width of a code.
        decay: of the moving averages, 0 to 1.
        beta: weight of the commitment loss.
        kmeans_init: start from k-means of the first vectors seen in training; otherwise from random
            unit vectors.
        revive_below: codes whose moving average of vectors per step falls below this number are
            set to vectors drawn from the batch; None leaves them as they are (the paper).

    Raises:
        ValueError: an argument of another type or out of range.
    """

    code_counts: Tensor

    def __init__(
        self,
        num_codes: int = 8192,
        code_dim: int = 32,
        decay: float = 0.99,
        beta: float = 1.0,
        kmeans_init: bool = True,
        revive_below: float | None = None,
    ) -> None:
        super().__init__()
        if not is_count(num_codes, least=2):
            raise InputError(f'num_codes is {num_codes!r}, allowed: 2 or more; the paper has 8192.')
        check_count(self, 'code_dim', code_dim, 32)
        check_number(self, 'decay', decay, 0.99)
        if not 0 <= decay < 1:
            raise InputError(f'decay is {decay}, allowed: 0 ≤ decay < 1; the paper has 0.99.')
        check_number(self, 'beta', beta, 1)
        check_flag(self, 'kmeans_init', kmeans_init)
        check_number(self, 'revive_below', revive_below, 0.5, optional=True)
        self.num_codes = num_codes
        self.code_dim = code_dim
        self.decay = decay
        self.beta = beta
        self.revive_below = revive_below
        self.embedding = Codebook(num_codes, code_dim, initted=not kmeans_init)
        # Codes chosen in training since somebody last set this to zero, over all ranks.
        self.register_buffer('code_counts', torch.zeros(num_codes), persistent=False)
        # A host-side copy of `initted`, so that a training step never waits for the device.
        self._initted = not kmeans_init
        # torch has no types for this one.
        self.register_load_state_dict_post_hook(_read_initted)  # type: ignore[no-untyped-call]

    @property
    def codebook(self) -> Tensor:
        """Unit vectors float32 ``(K, D)``."""
        return self.embedding.weight

    @property
    def initted(self) -> bool:
        """Whether the codebook has been set by k-means, a checkpoint or at random."""
        return self._initted

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize, with a straight-through gradient.

        Args:
            z: float ``(B, D, H, W)``, any length; normalised here.

        Returns:
            ``z_q`` float32 ``(B, D, H, W)``, unit vectors, whose gradient passes to ``z`` as if
            nothing had been quantized; codes int64 ``(B, H, W)``; the commitment loss β · ‖sg[v] −
            ℓ2(z)‖², averaged over all elements: Eq. 2, the encoder's term. The codebook's own is
            :meth:`update_codebook`.

        Raises:
            ValueError: eval mode before the codebook has been set, or vectors of another shape.
        """
        if z.ndim != 4 or z.shape[1] != self.code_dim or not z.is_floating_point():
            raise InputError(
                f'vectors are {z.dtype} {tuple(z.shape)}, allowed: float (B, {self.code_dim}, H, '
                'W); code_dim must be the width of the encoder’s vectors.'
            )
        with torch.autocast(z.device.type, enabled=False):
            z = l2_normalize(z.permute(0, 2, 3, 1))
            flat = z.reshape(-1, self.code_dim)
            if not self.initted:
                if not self.training:
                    raise InputError(
                        'the codebook is empty: load a trained tokenizer, or train this one; with '
                        'kmeans_init=True its first training step fills it.'
                    )
                self.init_codebook(flat.detach())
            codes = nearest_codes(flat.detach(), self.codebook)
            # Taken before the codebook moves: the codes were chosen by what it is now.
            z_q = self.codebook[codes].view_as(z)
            if self.training:
                self.update_codebook(flat.detach(), codes)
            loss = self.beta * F.mse_loss(z_q, z)
            z_q = z + (z_q - z).detach()
        return z_q.permute(0, 3, 1, 2), codes.view(z.shape[:-1]), loss

    @torch.no_grad()
    def update_codebook(self, z: Tensor, codes: Tensor) -> None:
        """Eq. 2, the codebook's term: every code moves towards its vectors, over all ranks.

        v ← ℓ2(decay · v + (1 − decay) · ℓ2(Σ z)) over the vectors z that chose the code v; a code
        that none chose stays.

        Args:
            z: float32 ``(N, D)``, unit vectors of this rank.
            codes: int64 ``(N,)``, their codes.
        """
        counts, sums = sums_by_code(z, codes, self.num_codes)
        all_reduce(counts)
        all_reduce(sums)
        means = torch.where(counts[:, None] > 0, l2_normalize(sums), self.codebook)
        self.embedding.weight.copy_(l2_normalize(torch.lerp(means, self.codebook, self.decay)))
        self.code_counts += counts
        self.embedding.cluster_size.lerp_(counts, 1 - self.decay)
        if self.revive_below is not None:
            self._revive(z, self.revive_below)

    @torch.no_grad()
    def init_codebook(self, z: Tensor) -> None:
        """Set the codebook by k-means over the vectors of all ranks; the same on every rank.

        Args:
            z: float32 ``(N, D)``, unit vectors of this rank; every rank has the same number.

        Raises:
            ValueError: fewer vectors than codes.
        """
        gathered = torch.cat(all_gather(z))
        if gathered.shape[0] < self.num_codes:
            raise InputError(
                f'k-means needs at least as many vectors as codes: num_codes is {self.num_codes}, '
                f'available are {gathered.shape[0]}. Use fewer codes, a larger batch, or the hook '
                'CodebookInitHook, which gathers vectors over several batches.'
            )
        centres = torch.empty_like(self.codebook)
        if get_rank() == 0:
            centres, _ = spherical_kmeans(gathered, self.num_codes)
        broadcast(centres)
        self.embedding.weight.copy_(centres)
        self.embedding.cluster_size.fill_(1)
        self.embedding.initted.fill_(1)
        self._initted = True

    def _revive(self, z: Tensor, below: float) -> None:
        """Give dead codes, and their moving average, a fresh start at vectors of this batch."""
        dead = self.embedding.cluster_size < below
        candidates = z[torch.randint(z.shape[0], (self.num_codes,), device=z.device)]
        if get_world_size() > 1:
            broadcast(candidates)
        self.embedding.weight.copy_(torch.where(dead[:, None], candidates, self.codebook))
        self.embedding.cluster_size.masked_fill_(dead, 1)


def _read_initted(module: NormEMAQuantizer, incompatible_keys: Any) -> None:
    module._initted = bool(module.embedding.initted.item())

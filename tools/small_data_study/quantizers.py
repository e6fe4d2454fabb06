"""FSQ and SimVQ of vector-quantize-pytorch behind the contract of ``NormEMAQuantizer``."""

from typing import Any

import torch
from torch import Tensor, nn

from mmbeitv2.errors import InputError, NotInstalledError

# Levels of every dimension, of 4 to 8 as the paper of FSQ (arXiv 2309.15505) has them, by K.
FSQ_LEVELS = {
    32: (8, 4),
    64: (8, 8),
    128: (8, 4, 4),
    256: (8, 8, 4),
    512: (8, 8, 8),
    1024: (8, 8, 4, 4),
    2048: (8, 8, 8, 4),
    4096: (8, 8, 8, 8),
    8192: (8, 8, 8, 4, 4),
}


class FreeQuantizer(nn.Module):
    """A quantizer whose codebook needs neither k-means nor revival.

    Args:
        quantizer: of vector-quantize-pytorch, with the channels first.
        num_codes: K.
        code_dim: D.
    """

    initted = True
    beta = 1.0

    def __init__(self, quantizer: nn.Module, num_codes: int, code_dim: int) -> None:
        super().__init__()
        self.inner = quantizer
        self.num_codes = num_codes
        self.code_dim = code_dim

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantize, with the library's gradient.

        Args:
            z: float ``(B, D, H, W)``; it is not normalised.

        Returns:
            ``z_q`` float32 ``(B, D, H, W)``, codes int64 ``(B, H, W)`` in 0 … K − 1, and the
            library's commitment loss, 0 for FSQ.
        """
        with torch.autocast(z.device.type, enabled=False):
            # As tokens, for which all releases of the library have one word.
            found: Any = self.inner(z.float().flatten(2).transpose(1, 2))
        z_q, codes, *loss = found
        z_q = z_q.transpose(1, 2).reshape(z.shape)
        codes = codes.long().reshape(z.shape[0], *z.shape[2:])
        return z_q, codes, loss[0] if loss else z_q.new_zeros(())


def make_quantizer(name: str, num_codes: int, code_dim: int) -> FreeQuantizer:
    """FSQ or SimVQ with the library's own settings.

    Args:
        name: ``'fsq'`` or ``'simvq'``.
        num_codes: K.
        code_dim: D.

    Raises:
        ImportError: vector-quantize-pytorch is missing.
        ValueError: a K that FSQ has no levels for.
    """
    try:
        from vector_quantize_pytorch import FSQ, SimVQ
    except ImportError as error:
        raise NotInstalledError(
            f'{name} needs vector-quantize-pytorch ({error}): install the extra "benchmark"'
        ) from error
    if name == 'simvq':
        inner: nn.Module = SimVQ(dim=code_dim, codebook_size=num_codes)
    elif num_codes in FSQ_LEVELS:
        inner = FSQ(list(FSQ_LEVELS[num_codes]), dim=code_dim)
    else:
        raise InputError(f'num_codes is {num_codes}, allowed for FSQ here: {sorted(FSQ_LEVELS)}')
    return FreeQuantizer(inner, num_codes, code_dim)

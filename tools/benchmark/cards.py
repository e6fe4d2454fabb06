"""What the cards can do: rates by data sheet, rates that were measured, and what is assumed.

Hopper's were measured on one H200 in steps of ViT-B/16 with 256 images (2026-11-26, torch 2.11,
cuDNN 9.19; docs/performance.md), the others' are assumed.
"""

from dataclasses import dataclass

import torch

TERA = 1e12

# Assumptions. A large square product reaches this much of the data sheet where nothing was
# measured; a product of a Transformer layer, say of 50,000 × 768 and 768 × 3072, less again: 0.7.
SQUARE_FRACTION, PRODUCT_FRACTION = 0.8, 0.7
# Point-wise kernels and reductions, of the data sheet's bandwidth: 0.8 of 3.35 TB/s are 2.7.
MEMORY_FRACTION = 0.8
# Attention with 64 values a head and some 200 tokens, of the data sheet's rate: forward, backward.
# Its bytes come on top, since so short a loop hides little of them.
FLASH_FRACTION, EFFICIENT_FRACTION = (0.20, 0.15), (0.12, 0.08)
# Measured on Hopper: products of all layers beside a square one; attention with a constant bias
# (cuDNN, memory-efficient) or none (flash), less the time of its bytes.
HOPPER = dict(
    product_fraction=0.89, cudnn=(0.16, 0.115), flash=(0.20, 0.11), efficient=(0.06, 0.057)
)
# Seconds between two kernels of a stream that never runs dry.
GAP = 1.5e-6
# Seconds of the host to send an operator, a view, a compiled kernel, and to enter a compiled layer.
HOST_OPERATOR, HOST_VIEW, HOST_FUSED, HOST_LAYER = 6e-6, 1.5e-6, 3e-6, 60e-6


@dataclass(frozen=True)
class Card:
    """Rates of a card.

    Attributes:
        name: for people.
        peak: operations a second by data type of a product's factors, accumulated in float32.
        memory_peak: bytes a second.
        square: operations a second of a large square product, by data type.
        source: where the rates come from.
        memory_fraction: of ``memory_peak`` that kernels reach.
        product_fraction: of ``square`` that a layer's products reach.
        gap: seconds between kernels.
        flash: of ``peak`` that attention without a mask reaches, forward and backward.
        efficient: as ``flash``, of the memory-efficient kernel and of attention written by hand.
        cudnn: as ``flash``, of cuDNN's attention; None on cards for which torch does not prefer it.
    """

    name: str
    peak: dict[torch.dtype, float]
    memory_peak: float
    square: dict[torch.dtype, float]
    source: str
    memory_fraction: float = MEMORY_FRACTION
    product_fraction: float = PRODUCT_FRACTION
    gap: float = GAP
    flash: tuple[float, float] = FLASH_FRACTION
    efficient: tuple[float, float] = EFFICIENT_FRACTION
    cudnn: tuple[float, float] | None = None

    def describe(self) -> str:
        """One line of the rates that a prediction uses."""
        half = self.square[torch.bfloat16] / TERA
        return (
            f'products at {self.product_fraction:.2f} × {half:.0f} TFLOP/s, memory at '
            f'{self.memory_fraction:.2f} × {self.memory_peak / TERA:.2f} TB/s ({self.source})'
        )


def _gpu(
    name: str,
    half: float,
    single: float,
    memory: float,
    measured: float | None = None,
    **fractions: float | tuple[float, float],
) -> Card:
    peak = {torch.bfloat16: half, torch.float16: half, torch.float32: single}
    square = {dtype: SQUARE_FRACTION * rate for dtype, rate in peak.items()}
    source = 'all from the data sheet, fractions assumed'
    if measured is not None:
        square |= {torch.bfloat16: measured, torch.float16: measured}
        source = 'products and attention measured on an H200, the rest from the data sheet'
    return Card(
        name,
        {dtype: rate * TERA for dtype, rate in peak.items()},
        memory * TERA,
        {dtype: rate * TERA for dtype, rate in square.items()},
        source,
        **fractions,
    )


# NVIDIA's data sheets, dense: TFLOP/s in bfloat16 and float16 (accumulated in float32), in float32
# without TF32, which PyTorch leaves off for products, and TB/s. H100 SXM and H200 have the same
# processor; 790 TFLOP/s is a square bfloat16 product measured on an H200, float16 taken as equal.
CARDS = {
    'h100': _gpu('H100 SXM', 989, 67, 3.35, measured=790, **HOPPER),
    'h200': _gpu('H200', 989, 67, 4.8, measured=790, **HOPPER),
    'a100': _gpu('A100 80 GB SXM', 312, 19.5, 2.04),
    '4090': _gpu('RTX 4090', 165.2, 82.6, 1.008),
}

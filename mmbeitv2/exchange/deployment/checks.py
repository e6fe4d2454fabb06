"""An exported file's outputs beside the model's own: rows of the table of equality."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mmbeitv2.exchange.deployment.graphs import PhotoGraph
from mmbeitv2.exchange.deployment.runtimes import Arrays, Runtime

BATCHES = (1, 3, 8)
# Of float32 computed twice in other orders of summation: of the largest value of an output; of the
# cosines of two codes that are as good as equally near; and of pixels that lie on a border.
RELATIVE = 1e-4
TIE = 1e-4
BORDER = 1e-3
# What float16 and int8 may lose: the share of equal codes or classes, or the cosine of features.
LEAST = dict(float16=0.95, int8=0.5)


@dataclass(frozen=True)
class Row:
    """One output at one batch size.

    Attributes:
        output: its name.
        batch: photos a call.
        size: height and width in pixels.
        photos: number of photos compared.
        agreement: share of equal codes, classes or best classes; of features, the least cosine of a
            photo's. 0 to 1.
        largest: largest absolute difference; of codes, of the cosines of the two codes chosen.
        remark: in words.
        passed: within the tolerance.
    """

    output: str
    batch: int
    size: tuple[int, int]
    photos: int
    agreement: float
    largest: float
    remark: str
    passed: bool


def run_batches(run: Any, pixels: torch.Tensor, batch: int) -> list[Arrays]:
    """Outputs of photos, ``batch`` at a time; see :func:`joined`."""
    return [run(part.numpy()) for part in pixels.split(batch)]


def joined(parts: Sequence[Arrays]) -> Arrays:
    """Outputs of several batches as those of one."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@torch.no_grad()
def reference(graph: PhotoGraph, pixels: torch.Tensor, batch: int = 8) -> Arrays:
    """The model's own outputs in float32, as this package computes them.

    Args:
        graph: before it is exported or halved.
        pixels: ``(N, 3, H, W)``.
        batch: photos a step.
    """
    parts = [graph(part) for part in pixels.split(batch)]
    names = graph.body.outputs
    return joined([{n: v.numpy() for n, v in zip(names, part)} for part in parts])


def compare(
    graph: PhotoGraph, run: Runtime, pixels: torch.Tensor, ours: Arrays, least: float | None
) -> list[Row]:
    """Rows of every output at every batch size.

    Args:
        graph: in float32, for the distances of codes.
        run: the exported file in its runtime.
        pixels: of the photos.
        ours: outputs of :func:`reference` of these photos.
        least: agreement that a float16 or int8 file must have; None: of float32, see ``RELATIVE``.
    """
    rows = []
    for batch in BATCHES:
        # Of the smaller batches two and a rest: what may break is the batch, not the photo.
        count = len(pixels) if batch == max(BATCHES) else min(len(pixels), 2 * batch + 1)
        theirs = joined(run_batches(run, pixels[:count], batch))
        rows += [
            _row(graph, name, batch, pixels[:count], value[:count], theirs[name], least)
            for name, value in ours.items()
        ]
    return rows


def _row(
    graph: PhotoGraph,
    name: str,
    batch: int,
    pixels: torch.Tensor,
    ours: np.ndarray,
    theirs: np.ndarray,
    least: float | None,
) -> Row:
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        remark = f'{theirs.dtype} {theirs.shape}, expected {ours.dtype} {ours.shape}'
        agreement, largest, exact = 0.0, float('inf'), False
    elif name == 'codes':
        agreement, largest, remark, exact = _codes(graph, pixels, ours, theirs)
    elif name == 'labels':
        agreement, largest, remark, exact = _labels(ours, theirs)
    else:
        agreement, largest, remark, exact = _numbers(name, ours, theirs)
    passed = exact
    if least is not None:
        # A share of two or three photos is no measurement; their numbers are shown.
        enough = agreement >= least or batch < max(BATCHES)
        passed = enough and bool(np.isfinite(largest))
    place = (batch, (pixels.shape[2], pixels.shape[3]), len(pixels))
    return Row(name, *place, agreement, largest, remark, passed)


def _codes(
    graph: PhotoGraph, pixels: torch.Tensor, ours: np.ndarray, theirs: np.ndarray
) -> tuple[float, float, str, bool]:
    differing = ours != theirs
    agreement = float(1 - differing.mean())
    if not differing.any():
        return agreement, 0.0, f'all {ours.size:,} codes equal', True
    images = graph.normalized(pixels)
    gaps = graph.body.gaps(images, torch.from_numpy(theirs)).abs().numpy()[differing]
    ties = int((gaps <= TIE).sum())
    remark = (
        f'{differing.sum():,} of {ours.size:,} codes differ, {ties:,} of them ties (cosines within '
        f'{TIE:.0e}); median gap {np.median(gaps):.1e}'
    )
    return agreement, float(gaps.max()), remark, ties == len(gaps)


def _labels(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, str, bool]:
    agreement = float((ours == theirs).mean())
    overlaps = []
    for label in np.union1d(ours, theirs):
        one, other = ours == label, theirs == label
        overlaps.append((one & other).sum() / (one | other).sum())
    remark = f'mIoU of the two maps {np.mean(overlaps):.4f}, {len(overlaps)} classes'
    return agreement, 1 - agreement, remark, agreement >= 1 - BORDER


def _numbers(name: str, ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float, str, bool]:
    largest = float(np.abs(ours - theirs).max())
    relative = largest / max(float(np.abs(ours).max()), 1e-30)
    remark = f'{relative:.1e} of the largest value'
    if name in ('logits', 'scores'):
        agreement = float((ours.argmax(1) == theirs.argmax(1)).mean())
        remark += f', best class equal for {agreement:.1%}'
    else:
        flat = [value.reshape(len(value), -1).astype(np.float64) for value in (ours, theirs)]
        norms = np.linalg.norm(flat[0], axis=1) * np.linalg.norm(flat[1], axis=1)
        agreement = float(((flat[0] * flat[1]).sum(1) / np.maximum(norms, 1e-30)).min())
        remark += f', least cosine {agreement:.6f}'
    return agreement, largest, remark, relative <= RELATIVE


def accuracy(scores: np.ndarray, labels: Sequence[int]) -> float:
    """Share of photos whose best class is right."""
    return float((scores.argmax(1) == np.asarray(labels)).mean())


def table(rows: Sequence[Row]) -> str:
    """The rows as text."""
    lines = [
        f'  {"output":<8} {"batch":>5} {"pixels":>9} {"photos":>6} {"agreement":>10} {"largest":>8}'
    ]
    for row in rows:
        lines.append(
            f'  {row.output:<8} {row.batch:>5} {row.size[0]:>4}×{row.size[1]:<4} {row.photos:>6} '
            f'{row.agreement:>10.4%} {row.largest:>8.1e}  {row.remark}'
            + ('' if row.passed else '  OUT OF TOLERANCE')
        )
    return '\n'.join(lines)

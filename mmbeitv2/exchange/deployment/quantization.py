"""int8 products of an ONNX file, by onnxruntime's own quantiser."""

import ast
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmbeitv2.exchange.deployment.formats import INPUT, save_onnx

SCOPES = 'pkg.torch.onnx.name_scopes'
# Products of tokens by weights: nearly all of a Transformer's work.
QUANTIZED = ['MatMul', 'Gemm']


def quantize_int8(
    path: Path, note: str, exact: Sequence[str], calibration: np.ndarray | None = None
) -> None:
    """Turn the weights of an ONNX file into int8, in place.

    Args:
        path: of the float32 file.
        note: JSON that the file keeps.
        exact: names of modules of the graph that stay float32: heads, codebook.
        calibration: pixels ``(N, 3, H, W)``, on which the range of every activation is found once;
            None: for every batch anew when it is run.
    """
    import onnx
    from onnxruntime import quantization

    excluded = _nodes_of(onnx.load(str(path)), exact)
    options: dict[str, Any] = dict(
        op_types_to_quantize=QUANTIZED,
        per_channel=True,
        nodes_to_exclude=excluded,
        # The products within the attention have no weights; its softmax would lose most.
        extra_options=dict(MatMulConstBOnly=True),
    )
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        prepared, written = Path(folder, 'shapes.onnx'), Path(folder, 'int8.onnx')
        # Shapes alone: its optimiser would rename the nodes that are left out.
        quantization.quant_pre_process(
            str(path), str(prepared), skip_optimization=True, skip_symbolic_shape=True
        )
        files = str(prepared), str(written)
        if calibration is None:
            quantization.quantize_dynamic(*files, **options)
        else:
            quantization.quantize_static(*files, _Calibration(calibration), **options)
        save_onnx(onnx.load(str(written)), path, note)


def _nodes_of(model: Any, modules: Sequence[str]) -> list[str]:
    """Names of the nodes that a graph's modules, or parts of these, were exported as."""
    return [
        node.name
        for node in model.graph.node
        if any(
            scope == module or scope.startswith(f'{module}.')
            for entry in node.metadata_props
            if entry.key == SCOPES
            for scope in ast.literal_eval(entry.value)
            for module in modules
        )
    ]


class _Calibration:
    """Photos one by one, as onnxruntime's calibration asks for them."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.rest: Iterator[np.ndarray] = iter(pixels[:, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next batch of one photo; None after the last."""
        found = next(self.rest, None)
        return None if found is None else {INPUT: found}

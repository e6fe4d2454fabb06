"""Write a model with its normalisation as ONNX, torch.export's or TorchScript's file."""

import importlib.util
import io
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.utils import digit_version

from mmbeitv2.errors import InputError, NotInstalledError
from mmbeitv2.exchange.deployment.graphs import PhotoGraph
from mmbeitv2.torch_releases import attention_in_parts

# Name of the format: how its file's name ends.
SUFFIXES = {'onnx': '.onnx', 'torch-export': '.pt2', 'torchscript': '.pt'}
ONNX_PACKAGES = ('onnx', 'onnxscript', 'onnxruntime')
# From the first on torch has its operators; the last is the newest that it writes.
OPSETS = range(18, 24)
DEFAULT_OPSET = 20
# Of an export that knows that it is one, and takes what layers do without their shortcuts.
EXPORTING_TORCH = '2.7'
INPUT = 'pixels'
NOTE = 'mmbeitv2'
NOTE_FILE = f'{NOTE}.json'
# Protocol buffers end there.
MOST_BYTES = 2**31
# What torch notes of every node: whole tracebacks, with paths of this machine.
TRACES = ('pkg.torch.onnx.stack_trace', 'pkg.torch.onnx.fx_node')


def check_format(to: str, opset: int | None, free_size: bool) -> None:
    """Refuse what this environment, or the format, cannot do, before any work.

    Args:
        to: a key of ``SUFFIXES``.
        opset: of ONNX; None for the default.
        free_size: one graph for all sizes.

    Raises:
        ValueError: an opset or format that is not to be had; with what is.
        ImportError: a package is missing.
    """
    if opset is not None and to != 'onnx':
        raise InputError(f'--opset is of ONNX: leave it out with --to {to}')
    if opset is not None and opset not in OPSETS:
        raise InputError(
            f'--opset is {opset}, allowed: {OPSETS[0]} to {OPSETS[-1]}, which torch writes and '
            'onnxruntime runs'
        )
    if to == 'torchscript':
        if free_size:
            raise InputError(
                '--free-size is not for torchscript, which records one size: choose --to onnx or '
                'torch-export'
            )
        return
    if digit_version(torch.__version__) < digit_version(EXPORTING_TORCH):
        raise InputError(
            f'--to {to} needs torch {EXPORTING_TORCH} or later, this is {torch.__version__}, whose '
            'export looks to a model like a compilation: choose --to torchscript, or update torch'
        )
    if to == 'onnx':
        missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            raise NotInstalledError(
                f"--to onnx needs {', '.join(missing)}: pip install 'mmbeitv2[export]'"
            )


def write_graph(
    graph: PhotoGraph,
    example: torch.Tensor,
    path: Path,
    to: str,
    note: str,
    opset: int | None = None,
    free_size: int = 0,
) -> None:
    """Write a graph of free batch.

    Args:
        graph: in eval mode, on the CPU.
        example: pixels ``(N, 3, H, W)``, N at least 2; with a free size, H and W unlike.
        path: of the file to write.
        to: a key of ``SUFFIXES``.
        note: JSON that is kept in the file.
        opset: of ONNX.
        free_size: side of a patch, of which H and W may be any multiple; 0 for the example's size.
    """
    # Operators that are fused here lay their results out as other runtimes do not.
    with torch.no_grad(), attention_in_parts(), warnings.catch_warnings():
        # Of deprecations within the exporters, and of what a trace takes for granted.
        warnings.simplefilter('ignore')
        if to == 'torchscript':
            traced = torch.jit.trace(graph, (example,), check_trace=False)
            torch.jit.save(traced, str(path), _extra_files={NOTE_FILE: note})
            return
        program = torch.export.export(
            graph, (example,), dynamic_shapes=(_free_sides(free_size),), strict=False
        )
        if to == 'torch-export':
            buffer = io.BytesIO()
            torch.export.save(program, buffer, extra_files={NOTE_FILE: note})
            path.write_bytes(buffer.getvalue())
        else:
            _write_onnx(program, graph.body.outputs, path, opset or DEFAULT_OPSET, note)


def _free_sides(patch: int) -> dict[int, Any]:
    sides: dict[int, Any] = {0: torch.export.Dim('batch', min=1)}
    if patch:
        sides[2] = patch * torch.export.Dim('rows', min=1)
        sides[3] = patch * torch.export.Dim('columns', min=1)
    return sides


def _write_onnx(
    program: torch.export.ExportedProgram,
    outputs: Sequence[str],
    path: Path,
    opset: int,
    note: str,
) -> None:
    import onnx

    written: Any = torch.onnx.export(
        program,
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=list(outputs),
        opset_version=opset,
    )
    model = written.model_proto
    found = {entry.domain: entry.version for entry in model.opset_import}.get('')
    if found != opset:
        raise InputError(
            f'--opset is {opset}, but torch can write this model in {found} only: give that'
        )
    name_free_sides(model)
    for node in model.graph.node:
        kept = [entry for entry in node.metadata_props if entry.key not in TRACES]
        del node.metadata_props[:]
        node.metadata_props.extend(kept)
    if model.ByteSize() >= MOST_BYTES:
        raise InputError(
            f'the model has {model.ByteSize():,} bytes, but one ONNX file holds {MOST_BYTES:,}: '
            'choose --precision float16, or --to torch-export'
        )
    save_onnx(model, path, note)
    onnx.checker.check_model(str(path))


def save_onnx(model: Any, path: Path, note: str) -> None:
    """Write an ONNX model with its note.

    Args:
        model: ``onnx.ModelProto``.
        path: of the file.
        note: JSON.
    """
    import onnx

    onnx.helper.set_model_props(model, {NOTE: note})
    onnx.save(model, str(path))


def name_free_sides(model: Any) -> None:
    """Give the free sides of the input names that a reader understands, wherever they stand."""
    sides = model.graph.input[0].type.tensor_type.shape.dim
    names: Mapping[str, str] = {
        side.dim_param: name
        for side, name in zip(sides, ('batch', '', 'height', 'width'))
        if side.dim_param and name
    }
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param in names:
                side.dim_param = names[side.dim_param]

"""Run an exported file where it will run: without the model that it was made of."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

Arrays = dict[str, np.ndarray]
Runtime = Callable[[np.ndarray], Arrays]


def open_runtime(path: Path, to: str, outputs: Sequence[str]) -> tuple[Runtime, str]:
    """A function from pixels to outputs by name, computed by a file's own runtime on the CPU.

    Args:
        path: of the file.
        to: its format.
        outputs: names, in order.

    Returns:
        The function, and name and version of the runtime.
    """
    if to == 'onnx':
        return _onnxruntime(path)
    program: Any
    if to == 'torchscript':
        with warnings.catch_warnings():
            # That it is deprecated is said where the format is chosen.
            warnings.simplefilter('ignore', FutureWarning)
            program, name = torch.jit.load(str(path)), 'torch.jit'
    else:
        with open(path, 'rb') as file:
            program, name = torch.export.load(file).module(), 'torch.export'

    @torch.no_grad()
    def run(pixels: np.ndarray) -> Arrays:
        found = program(torch.from_numpy(pixels))
        return {name: value.numpy() for name, value in zip(outputs, found)}

    return run, f'{name} {torch.__version__}'


def _onnxruntime(path: Path) -> tuple[Runtime, str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    # Warnings of its optimiser, which a reader of the table cannot act upon.
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=['CPUExecutionProvider'])
    (entry,) = session.get_inputs()
    names = [output.name for output in session.get_outputs()]

    def run(pixels: np.ndarray) -> Arrays:
        return dict(zip(names, session.run(names, {entry.name: pixels})))

    return run, f'onnxruntime {onnxruntime.__version__}'

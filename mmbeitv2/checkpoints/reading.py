"""Read weights from files, never running code that a file brings along unless asked to."""

import argparse
import pickle
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.serialization import add_safe_globals, clear_safe_globals, get_safe_globals

from mmbeitv2.checkpoints.sources import local_file
from mmbeitv2.errors import InputError

WEIGHT_KEYS = ('state_dict', 'model', 'module')
# Where files of this project keep what their tensors do not show, in a PyTorch file.
METADATA_KEY = 'mmbeitv2'
# What the official training script stores its command line in: it holds values and runs nothing.
HARMLESS = [argparse.Namespace]


def read_state_dict(
    source: str | Path, trust: bool = False, keys: Sequence[str] = WEIGHT_KEYS
) -> dict[str, Tensor]:
    """Weights of a checkpoint file, on the CPU, see :func:`read_weights`."""
    return read_weights(source, trust, keys)[0]


def read_weights(
    source: str | Path, trust: bool = False, keys: Sequence[str] = WEIGHT_KEYS
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata of a checkpoint file, on the CPU.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`; a safetensors file, or a
            PyTorch file whose weights lie at the top or under one of ``keys``.
        trust: open a file that holds Python objects beside weights, which can run any code.
        keys: names under which weights may lie; the first that the file has is taken.

    Returns:
        Tensors by name, and the metadata that this project wrote into the file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something other than weights, or code.
    """
    with local_file(source) as path:
        if _is_safetensors(path):
            return _read_safetensors(path, source)
        content = _read_pytorch(path, source, trust)
    if not isinstance(content, dict):
        raise InputError(f'{source} holds a {type(content).__name__}, expected a dictionary.')
    metadata = content.get(METADATA_KEY, {})
    for key in keys:
        if isinstance(content.get(key), dict):
            content = content[key]
            break
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise InputError(f'{source} holds no tensors: it is not a checkpoint of a model.')
    return weights, metadata


def _is_safetensors(path: Path) -> bool:
    """Whether a file begins with safetensors' JSON header, after the header's length."""
    with open(path, 'rb') as file:
        return file.read(9)[8:] == b'{'


def _read_safetensors(path: Path, source: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, 'pt') as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f'{source} is a damaged safetensors file: {error}.') from error


def _read_pytorch(path: Path, source: str | Path, trust: bool) -> object:
    if trust:
        return torch.load(path, map_location='cpu', weights_only=False)
    try:
        with _harmless_objects():
            return torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(
            f'{source} cannot be read as weights only ({_reason(error)}). A checkpoint that holds '
            'other Python objects can run code when it is opened, so it is refused. If you trust '
            'its source: read it with trust=True (an argument of load_tokenizer, load_pretrained, '
            'TimmTeacher and of init_cfg), or convert it once to a file without code by '
            '`python tools/convert_checkpoint.py SRC DST --to safetensors --trust`.'
        ) from error


@contextmanager
def _harmless_objects() -> Iterator[None]:
    """Let weights-only reading accept ``HARMLESS``, for the time being.

    torch's own context manager of this kind came after 2.4.
    """
    before = get_safe_globals()
    add_safe_globals(HARMLESS)
    try:
        yield
    finally:
        clear_safe_globals()
        add_safe_globals(before)


def _reason(error: Exception) -> str:
    """The line of torch's long message that names what was refused."""
    lines = str(error).splitlines() or ['the file ends too early']
    return next((line.strip() for line in lines if 'Unsupported' in line), lines[0])

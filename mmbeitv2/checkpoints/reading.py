"""Read weights from files, never running code that a file brings along unless asked to."""

import argparse
import pickle
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mmbeitv2.checkpoints.averages import chosen_key, no_average
from mmbeitv2.checkpoints.digests import DIGEST_KEY, digest
from mmbeitv2.checkpoints.kinds import fault, is_safetensors
from mmbeitv2.checkpoints.parts import check_whole, part_by_class
from mmbeitv2.checkpoints.sources import local_file
from mmbeitv2.errors import InputError, UnreadableFileError
from mmbeitv2.torch_releases import HAS_SAFE_GLOBALS, only_safe_globals

WEIGHT_KEYS = ('state_dict', 'model', 'module')
# Where files of this project keep what their tensors do not show, in a PyTorch file.
METADATA_KEY = 'mmbeitv2'
# What the official training script stores its command line in: it holds values and runs nothing.
HARMLESS = [argparse.Namespace]
HOW_TO_TRUST = (
    'If you trust its source: read it with trust=True (an argument of load_tokenizer, '
    'load_pretrained, TimmTeacher and of init_cfg), or convert it once to a file without code by '
    '`python tools/convert_checkpoint.py SRC DST --to safetensors --trust`.'
)
# mmengine's log history; its own way of storing it needs getattr, which reaches any module.
HISTORY = ('HistoryBuffer', 'getattr', 'numpy')
# What torch before 2.4 says of damaged files, as of those with code.
CUT_OFF = ('unexpected EOF', 'Invalid magic number')


class TrainingCheckpoint(dict[str, Any]):
    """Content of a training checkpoint, with the file's name as ``source``."""

    source: str = ''


def read_state_dict(
    source: str | Path, trust: bool = False, keys: Sequence[str] = WEIGHT_KEYS
) -> dict[str, Tensor]:
    """Weights of a checkpoint file, on the CPU, see :func:`read_weights`."""
    return read_weights(source, trust, keys)[0]


def read_weights(
    source: str | Path,
    trust: bool = False,
    keys: Sequence[str] = WEIGHT_KEYS,
    ema: bool = False,
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Weights and metadata of a checkpoint file, on the CPU.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`; a safetensors file, or a
            PyTorch file whose weights lie at the top or under one of ``keys``.
        trust: open a file that holds Python objects beside weights, which can run any code.
        keys: names under which weights may lie; the first that the file has is taken.
        ema: take the moving average of the weights, which a file may hold beside them. The log
            says which were taken where there are both.

    Returns:
        Tensors by name, and the metadata that this project wrote into the file.

    Raises:
        FileNotFoundError: no such file.
        OSError: it cannot be read.
        ValueError: the file holds something other than weights, a part of a model, no average where
            one is asked for, or code, or is damaged.
    """
    with local_file(source) as path:
        if _is_safetensors(path, source):
            state, metadata = _read_safetensors(path, source)
            check_whole(state, source)
            if ema:
                raise no_average(source)
            return state, metadata
        content = _read_pytorch(path, source, trust)
    if not isinstance(content, dict):
        raise InputError(f'{source} holds a {type(content).__name__}, expected a dictionary.')
    metadata = content.get(METADATA_KEY, {})
    weights = weights_in(content, source, keys, ema)
    return weights, metadata if isinstance(metadata, dict) else {}


def weights_in(
    content: dict[str, Any],
    source: str | Path,
    keys: Sequence[str] = WEIGHT_KEYS,
    ema: bool = False,
) -> dict[str, Tensor]:
    """Weights among all that a checkpoint file holds.

    Args:
        content: of the file.
        source: of it, for messages.
        keys: see :func:`read_weights`.
        ema: likewise.

    Raises:
        ValueError: there are none, or a part of a model, or no average where one is asked for.
    """
    check_whole(content, source)
    key = chosen_key(content, keys, ema, source)
    content = content if key is None else content[key]
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise InputError(f'{source} holds no tensors: it is not a checkpoint of a model.')
    for name, value in weights.items():
        if not isinstance(name, str):
            raise InputError(
                f'{source} calls a tensor {name!r}, allowed: names, as state_dict() gives them.'
            )
        if value.is_meta or value.layout is not torch.strided:
            kind = 'without values (meta)' if value.is_meta else 'sparse'
            raise InputError(
                f'{source}: {name} is {kind}, allowed: dense tensors; save it again as such.'
            )
    return weights


def read_training_checkpoint(
    source: str | Path, device: torch.device | str = 'cpu', mapped: bool = False
) -> TrainingCheckpoint:
    """All that a training checkpoint holds, of which nothing can run.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`; a file that a run of this
            project wrote, or of weights alone.
        device: where its tensors are wanted.
        mapped: leave the tensors in the file, for those who want what is noted beside them.

    Returns:
        Its content: ``state_dict``, and of a run ``meta``, ``optimizer``, ``param_schedulers`` and
        ``message_hub``.

    Raises:
        FileNotFoundError: no such file.
        OSError: it cannot be read.
        ValueError: it holds code, is damaged, or no checkpoint.
    """
    with local_file(source) as path:
        if _is_safetensors(path, source):
            state, metadata = _read_safetensors(path, source)
            moved = {name: value.to(device) for name, value in state.items()}
            content: object = {'state_dict': moved, METADATA_KEY: metadata}
        else:
            mmap = mapped and zipfile.is_zipfile(path)
            content = _read_pytorch(path, source, device=device, mmap=mmap)
    if not isinstance(content, dict):
        raise InputError(f'{source} holds a {type(content).__name__}, expected a dictionary.')
    checkpoint = TrainingCheckpoint(content)
    checkpoint.source = str(source)
    return checkpoint


def _is_safetensors(path: Path, source: str | Path) -> bool:
    try:
        return is_safetensors(path)
    except OSError as error:
        raise UnreadableFileError(f'{source} cannot be read: {error.strerror or error}.') from error


def _read_safetensors(path: Path, source: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    found = fault(path)
    if found is not None:
        raise InputError(f'{source} {found}.')
    with _readable_safetensors(path, source) as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    # Files that this project converted; the format itself has no checksum.
    if DIGEST_KEY in metadata and metadata[DIGEST_KEY] != digest(state):
        raise InputError(
            f'{source} is damaged: its tensors do not have the checksum that was noted when it was '
            'written; copy or convert it again.'
        )
    return state, metadata


@contextmanager
def _readable_safetensors(path: Path, source: str | Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, 'pt') as file:
            yield file
    except SafetensorError as error:
        raise InputError(
            f'{source} is a truncated or damaged safetensors file ({error}): copy or download it '
            'again.'
        ) from error


def _read_pytorch(
    path: Path,
    source: str | Path,
    trust: bool = False,
    device: torch.device | str = 'cpu',
    mmap: bool = False,
) -> object:
    found = fault(path)
    if found is not None:
        raise InputError(f'{source} {found}.')
    try:
        if trust:
            return torch.load(path, map_location=device, weights_only=False)
        with only_safe_globals(HARMLESS):
            # As text, which torch before 2.2 asks for.
            return torch.load(str(path), map_location=device, weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        reason = _reason(error)
        if (part := part_by_class(reason)) is not None:
            raise InputError(f'{source} {part}') from error
        if any(sign in reason for sign in CUT_OFF):
            raise _damaged(source, reason) from error
        how = HOW_TO_TRUST
        if any(word in reason for word in HISTORY):
            how += ' Runs whose config has PlainCheckpointHook write no such objects.'
        if not HAS_SAFE_GLOBALS and any(kind.__qualname__ in reason for kind in HARMLESS):
            how += f' Torch 2.4 or later reads this one as it is; this is {torch.__version__}.'
        raise InputError(
            f'{source} cannot be read as weights only ({reason}). A checkpoint that holds other '
            f'Python objects can run code when it is opened, so it is refused. {how}'
        ) from error
    except torch.cuda.OutOfMemoryError:
        raise
    # A pickle's operations on values of the wrong kind raise errors of every type.
    except Exception as error:
        raise _damaged(source, _reason(error)) from error


def _damaged(source: str | Path, reason: str) -> InputError:
    return InputError(
        f'{source} is a pickle but no checkpoint of PyTorch, or a damaged one ({reason}): copy or '
        'download it again.'
    )


def _reason(error: Exception) -> str:
    """The part of torch's long message that names what was refused.

    What stands before it tells people to read the file with code; before torch 2.4 in one line.
    """
    text = str(error).rpartition('WeightsUnpickler error: ')[2]
    lines = text.splitlines() or ['the file ends too early']
    named = (line.strip() for line in lines if 'unsupported' in line.lower())
    line = next(named, lines[0].strip())
    return line if isinstance(error, pickle.UnpicklingError) else f'{type(error).__name__}: {line}'

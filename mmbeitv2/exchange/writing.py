"""Write converted checkpoints: atomically, never over a file unless asked to."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mmbeitv2.checkpoints.digests import DIGEST_KEY, digest
from mmbeitv2.checkpoints.reading import METADATA_KEY
from mmbeitv2.errors import ExistingFileError, InputError

# Under which key a PyTorch file of each project holds its weights.
CONTAINERS = {
    'mmbeitv2': 'state_dict',
    'mmpretrain': 'state_dict',
    'official': 'model',
    'timm': 'state_dict',
}
PYTORCH_SUFFIXES = ('.pth', '.pt', '.bin')
SAFETENSORS_SUFFIX = '.safetensors'
CARD, CARD_SUFFIX = 'README.md', '.md'
WEIGHTS, CONFIG, PREPROCESSOR = 'model.safetensors', 'config.json', 'preprocessor_config.json'
# Projects for which a folder is written.
FOLDERS = ('transformers', 'transformers-mim')
TRANSFORMERS_FILES = (CONFIG, PREPROCESSOR, WEIGHTS)


def check_destination(path: Path, project: str, overwrite: bool) -> None:
    """Refuse a destination before anything is read.

    Args:
        path: the file to write; for transformers the folder.
        project: a key of ``TARGETS``.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: there is something already.
        ValueError: the name does not suit the project.
    """
    suffixes: tuple[str, ...] = (*PYTORCH_SUFFIXES, SAFETENSORS_SUFFIX)
    if project == 'safetensors':
        suffixes = (SAFETENSORS_SUFFIX,)
    if project in FOLDERS:
        if path.suffix in suffixes or path.is_file():
            raise InputError(
                f'{path} names a file, but transformers loads a folder: give a folder.'
            )
    elif path.suffix not in suffixes or path.is_dir():
        raise InputError(f'{path} must be a file whose name ends in {", ".join(suffixes)}.')
    written = [path, card_path(path, project)]
    if project in FOLDERS:
        written[:1] = [path / name for name in TRANSFORMERS_FILES]
    present = [str(file) for file in written if file.exists()]
    if present and not overwrite:
        raise ExistingFileError(
            f'{" and ".join(present)} exists: choose another name or --overwrite.'
        )


def write_file(
    path: Path, project: str, state: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    """Write weights and metadata into one file, by its suffix safetensors or PyTorch.

    In safetensors the metadata is the file's header, in PyTorch the dictionary ``mmbeitv2`` beside
    the weights.
    """
    state = {name: value.detach().clone().contiguous() for name, value in state.items()}
    if path.suffix == SAFETENSORS_SUFFIX:
        header = {'format': 'pt', DIGEST_KEY: digest(state), **metadata}
        _replace(path, lambda file: save_file(state, file, header))
    else:
        content = {METADATA_KEY: metadata, CONTAINERS[project]: state}
        _replace(path, lambda file: torch.save(content, file))


def write_transformers(
    folder: Path,
    state: dict[str, Tensor],
    metadata: dict[str, str],
    config: dict[str, Any],
    preprocessor: dict[str, Any] | None,
) -> None:
    """Write a folder that transformers' ``from_pretrained`` loads.

    With a ``preprocessor`` its ``AutoImageProcessor`` and ``pipeline`` load it too.
    """
    write_file(folder / WEIGHTS, 'transformers', state, metadata)
    contents = {CONFIG: config}
    if preprocessor is not None:
        contents[PREPROCESSOR] = preprocessor
    for name, content in contents.items():
        _write_text(folder / name, json.dumps(content, indent=2) + '\n')


def card_path(path: Path, project: str) -> Path:
    """Where the card of a converted checkpoint is: in transformers' folder, else beside the file.

    Args:
        path: the file, or transformers' folder.
        project: a key of ``TARGETS``.
    """
    return path / CARD if project in FOLDERS else path.with_name(path.name + CARD_SUFFIX)


def write_card(path: Path, project: str, text: str) -> None:
    """Write the card of a converted checkpoint, see :func:`card_path`."""
    _write_text(card_path(path, project), text)


def _write_text(path: Path, text: str) -> None:
    _replace(path, lambda file: Path(file).write_text(text, encoding='utf-8'))


def _replace(path: Path, write: Callable[[str], object]) -> None:
    """Let ``write`` fill a temporary file, then give it its name in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        write(str(temporary))
        # safetensors' writer lets the owner alone read; this is what the umask allows.
        temporary.chmod(mode)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

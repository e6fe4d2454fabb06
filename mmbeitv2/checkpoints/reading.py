"""Read weights from files, never running code that a file brings along."""

import pickle
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

WEIGHT_KEYS = ('state_dict', 'model', 'module')


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """Weights of a checkpoint file, on the CPU.

    Args:
        path: a ``.safetensors`` file, or a PyTorch file whose weights lie at the top or under
            ``state_dict``, ``model`` or ``module`` (this project, mmpretrain, the official release,
            timm).

    Returns:
        Tensors by name.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds something other than weights, or code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'no checkpoint at {path}: check the path.')
    if path.suffix == '.safetensors':
        return load_file(path)
    try:
        content = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f'{path} cannot be read as weights only ({_reason(error)}). A checkpoint '
            'that holds other Python objects could run code when it is opened: if you trust its '
            'source, open it once with torch.load(path, weights_only=False) and save its state '
            'dict to a new file.'
        ) from error
    for key in WEIGHT_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict):
        raise ValueError(f'{path} holds a {type(content).__name__}, expected a dictionary.')
    weights = {name: value for name, value in content.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError(f'{path} holds no tensors: it is not a checkpoint of a model.')
    return weights


def _reason(error: Exception) -> str:
    """The line of torch's long message that names what was refused."""
    lines = str(error).splitlines() or ['the file ends too early']
    return next((line.strip() for line in lines if 'Unsupported' in line), lines[0])

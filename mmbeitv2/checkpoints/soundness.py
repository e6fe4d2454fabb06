"""Whether tensors are the weights of a model: numbers of the right kind, names and shapes."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.torch_releases import aminmax

EXTRA_STATE = '_extra_state'
RETRAIN = 'take an earlier checkpoint of that run, or train it again with a lower learning rate'


def check_numbers(
    state: Mapping[str, Tensor], source: str, own: Mapping[str, Tensor] | None = None
) -> None:
    """Refuse weights that are not finite real numbers.

    Args:
        state: tensors by name.
        source: where they come from, for the message.
        own: tensors of the model that they are for; by default of float32. Integers, as counters
            are, stay allowed where the model has them, or where none is given to compare with.

    Raises:
        ValueError: names the first such tensor, its kind or how many of its elements are amiss.
    """
    for name, value in state.items():
        wanted = value.dtype if own is None else own[name].dtype if name in own else None
        if value.is_complex() or (value.dtype is torch.bool and wanted is not torch.bool):
            raise InputError(_wrong_kind(source, name, value))
        if wanted is None:
            continue
        if wanted.is_floating_point and not value.is_floating_point():
            raise InputError(_wrong_kind(source, name, value))
        if value.is_floating_point() and not is_finite(value.to(wanted)):
            raise InputError(f'{source}: {amiss(name, value)}, allowed: finite weights; {RETRAIN}.')


def is_finite(value: Tensor) -> bool:
    """Whether all of a float tensor are finite; takes no memory of its size."""
    if value.numel() == 0:
        return True
    if value.dtype.itemsize == 1:
        value = value.float()
    # Either end is NaN where any element is.
    return all(torch.isfinite(end).item() for end in aminmax(value.detach()))


def amiss(name: str, value: Tensor) -> str:
    """Say how many elements of a float tensor are no finite number, for a message."""
    value = value.detach().float()
    nan, infinite = value.isnan().sum().item(), value.isinf().sum().item()
    return f'{name} has {nan} NaN and {infinite} infinite among {value.numel()} elements'


def first_difference(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str | None:
    """The first tensor that a checkpoint and a model do not both have in one shape.

    Args:
        own: tensors of the model.
        given: tensors of the checkpoint.

    Returns:
        The end of a sentence about the checkpoint; None without a difference. Of what is no weight
        but noted beside them, as the grid of a vision Transformer, older files have less.
    """
    for name, wanted in own.items():
        if name.endswith(EXTRA_STATE) and name not in given:
            continue
        if name not in given:
            return f'it has no tensor {name}{_shape(wanted)}'
        if isinstance(wanted, Tensor) and given[name].shape != wanted.shape:
            return (
                f'{name} has shape {tuple(given[name].shape)} in the file but '
                f'{tuple(wanted.shape)} in the model'
            )
    for name, value in given.items():
        if name not in own and not name.endswith(EXTRA_STATE):
            return f'the model has no place for its {name}{_shape(value)}'
    return None


def _shape(value: object) -> str:
    return f' of shape {tuple(value.shape)}' if isinstance(value, Tensor) else ''


def _wrong_kind(source: str, name: str, value: Tensor) -> str:
    kind = str(value.dtype).removeprefix('torch.')
    return (
        f'{source}: {name} is of {kind}, allowed: weights of real floating-point numbers; a '
        'quantized or packed file is converted back by what wrote it.'
    )

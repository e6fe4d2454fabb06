"""What ``init_cfg`` asks for, of models that load checkpoints themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.model import PretrainedInit
from torch import nn

from mmbeitv2.errors import InputError

# Of :func:`mmbeitv2.checkpoints.translation.open_checkpoint`.
READING_OPTIONS = ('prefix', 'trust', 'img_size', 'ema')
# mmengine's own, of which everything here is on the CPU anyway.
UNREAD = ('type', 'checkpoint', 'map_location')


def options_of_start(
    model: nn.Module, init_cfg: object, allowed: Sequence[str]
) -> dict[str, Any] | None:
    """Options for reading the checkpoint that ``init_cfg`` names, ``checkpoint`` among them.

    mmengine would load what it names without being strict, or take no notice of an option.

    Args:
        model: whose ``init_cfg`` it is.
        init_cfg: ``dict(type='Pretrained', checkpoint=…)``, a list of that alone, or None.
        allowed: names of further options.

    Returns:
        Keyword arguments of the model's ``load_checkpoint``; None where nothing is asked for.

    Raises:
        ValueError: another kind of initialisation, or an option that there is not.
    """
    if isinstance(init_cfg, Sequence) and not isinstance(init_cfg, str) and len(init_cfg) == 1:
        init_cfg = init_cfg[0]
    if not init_cfg:
        return None
    name = type(model).__name__
    if (
        not isinstance(init_cfg, Mapping)
        or init_cfg.get('type', 'Pretrained') not in ('Pretrained', PretrainedInit)
        or not init_cfg.get('checkpoint')
    ):
        raise InputError(
            f'init_cfg of {name} is {init_cfg!r}, allowed: '
            "dict(type='Pretrained', checkpoint=FILE), or None for the official initialisation"
        )
    for option in init_cfg:
        if option not in (*UNREAD, *allowed):
            raise InputError(
                f'init_cfg of {name} has the option {option!r}, allowed: checkpoint, '
                f'{", ".join(allowed)}'
            )
    return {key: value for key, value in init_cfg.items() if key in ('checkpoint', *allowed)}


def load_start(model: Any, allowed: Sequence[str] = READING_OPTIONS) -> None:
    """Load the checkpoint that a model's ``init_cfg`` names, if any, by its ``load_checkpoint``.

    Args:
        model: initialised.
        allowed: names of options.

    Raises:
        ValueError: see :func:`options_of_start`.
    """
    options = options_of_start(model, model.init_cfg, allowed)
    if options is not None:
        model.load_checkpoint(**options)

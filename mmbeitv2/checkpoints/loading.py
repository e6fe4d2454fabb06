"""Load weights into a model: everything fits, or an error names what does not."""

from collections.abc import Iterable

from mmengine.logging import print_log
from torch import Tensor, nn

# Buffers of the official code that no model here reads.
OFFICIAL_BUFFERS = ('relative_position_index', 'quantize.cluster_size', 'embedding.embed_avg')


def load_exactly(
    model: nn.Module, state: dict[str, Tensor], source: str, may_be_missing: Iterable[str] = ()
) -> None:
    """Load ``state`` into ``model``: every tensor of the model is set, or nothing is.

    Args:
        model: the model; its state dict names what is needed.
        state: tensors by name; parts that the model does not have are left over, but not tensors
            of a part it has: a model of fewer layers would drop the others unnoticed.
        source: where the tensors come from, for messages.
        may_be_missing: beginnings of names that may keep their initial values.

    Raises:
        ValueError: a tensor is missing, has another shape, or has no place in a part of the model;
            the message names the first.
    """
    own = model.state_dict()
    kept = [n for n in own if n not in state and n.startswith(tuple(may_be_missing))]
    for name, wanted in own.items():
        if name in kept:
            continue
        if name not in state:
            raise ValueError(
                f'{source} is a checkpoint of another architecture: it has no tensor {name} of '
                f'shape {tuple(wanted.shape)} for {type(model).__name__}; it holds '
                f'{", ".join(list(state)[:3])}, …'
            )
        if state[name].shape != wanted.shape:
            raise ValueError(
                f'{source} is a checkpoint of another architecture: {name} has shape '
                f'{tuple(state[name].shape)} in the file but {tuple(wanted.shape)} in '
                f'{type(model).__name__}: set the model’s sizes to those of the file.'
            )
    parts = {name.split('.')[0] for name in own}
    for name, value in state.items():
        if name not in own and name.split('.')[0] in parts and not name.endswith(OFFICIAL_BUFFERS):
            raise ValueError(
                f'{source} is a checkpoint of another architecture: {type(model).__name__} has no '
                f'place for {name} of shape {tuple(value.shape)}: set the model’s depth, layer '
                'scale (init_values) and positions to those of the file.'
            )
    used = {name: value for name, value in state.items() if name in own}
    model.load_state_dict(used, strict=False)
    print_log(
        f'{type(model).__name__}: {len(used)} tensors loaded from {source}, {len(kept)} left at '
        f'their initial values, {len(state) - len(used)} of the file not needed',
        logger='current',
    )

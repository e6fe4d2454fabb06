"""Fitting a weight file to a teacher's network."""

from mmengine.logging import print_log
from torch import Tensor, nn

from mmbeitv2.checkpoints.soundness import check_numbers
from mmbeitv2.errors import InputError

# BatchNorm's step counter: absent from older files and without effect in eval mode.
_STEP_COUNTER = 'num_batches_tracked'


def load_weights(model: nn.Module, weights: dict[str, Tensor], source: str) -> None:
    """Load weights by name or, if the names belong to another naming of the same network, by order.

    Args:
        model: the network; every parameter and buffer is loaded.
        weights: tensors by name.
        source: where they come from, for messages.

    Raises:
        ValueError: if names and shapes fit neither way, or a tensor holds other than finite
            numbers; it names the first such tensor.
    """
    own = {k: v for k, v in model.state_dict().items() if not k.endswith(_STEP_COUNTER)}
    given = {k: v for k, v in weights.items() if not k.endswith(_STEP_COUNTER)}
    same_names = own.keys() == given.keys()
    pairs = [(name, name) for name in own] if same_names else list(zip(own, given))
    for own_name, given_name in pairs:
        # A name that both know must not be loaded into another tensor.
        misplaced = own_name != given_name and (own_name in given or given_name in own)
        if misplaced or own[own_name].shape != given[given_name].shape:
            raise InputError(
                f'{source} is not a weight file of this {type(model).__name__}; first difference: '
                f'the model has {own_name!r} of shape {tuple(own[own_name].shape)}, the file '
                f'{given_name!r} of shape {tuple(given[given_name].shape)}; choose the model that '
                'the file belongs to'
            )
    if len(own) != len(given):
        longer, side = (own, 'model') if len(own) > len(given) else (given, 'file')
        name = list(longer)[len(pairs)]
        raise InputError(
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
    paired = {o: given[g] for o, g in pairs}
    check_numbers(paired, source, own)
    # Not strict because of the step counters only: all else has been paired above.
    model.load_state_dict(paired, strict=False)

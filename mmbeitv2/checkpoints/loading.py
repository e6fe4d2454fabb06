"""Load weights into a model: everything fits, or an error names what does not."""

import re
from collections.abc import Iterable, Sequence

from mmengine.logging import print_log
from torch import Tensor, nn

from mmbeitv2.checkpoints.layouts import VIT_PARTS
from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.soundness import EXTRA_STATE, check_numbers
from mmbeitv2.checkpoints.translation import Checkpoint, find_naming
from mmbeitv2.errors import InputError

# Training state of the codebook, which not every project stores.
OPTIONAL = ('quantize.embedding.cluster_size',)
NAMES_PER_ROW = 4
# By it the weights of a vision Transformer are known, by its own names.
SIGNATURE = 'blocks.0.norm1.weight'
HOW_TO_LOAD = (
    "name the file in init_cfg of the backbone itself (type='mmbeitv2.BEiTViT'), which reads every "
    'layout, or convert it for the whole model first: `mmbeitv2 convert-checkpoint FILE NEW.pth '
    '--to mmbeitv2`'
)


def load_exactly(
    model: nn.Module,
    checkpoint: Checkpoint,
    prefix: str = '',
    may_be_missing: Iterable[str] = (),
    report: bool = True,
) -> None:
    """Load a checkpoint into ``model``: every tensor of the model is set, or nothing is.

    Args:
        model: the model.
        checkpoint: see :func:`fitted`.
        prefix: likewise.
        may_be_missing: likewise.
        report: likewise.

    Raises:
        ValueError: see :func:`fitted`.
    """
    state = fitted(model, checkpoint, prefix, may_be_missing, report)
    model.load_state_dict(state)


def fitted(
    model: nn.Module,
    checkpoint: Checkpoint,
    prefix: str = '',
    may_be_missing: Iterable[str] = (),
    report: bool = True,
) -> dict[str, Tensor]:
    """The whole state dict that ``model`` has with a checkpoint's tensors.

    A part of the model that has ``expand_shared_bias`` and ``resize_positions`` gets its tensors
    fitted by them.

    Args:
        model: the model; its state dict names what is needed.
        checkpoint: parts that the model does not have are left over, but not tensors of a part it
            has: a model of fewer layers would drop the others unnoticed.
        prefix: with a dot, name of this model within the checkpoint's.
        may_be_missing: beginnings of names that may keep their initial values.
        report: log what is loaded, expanded, resized, missing and left over, as one table.

    Raises:
        ValueError: a tensor is missing, has another shape, has no place in a part of the model, or
            holds other than finite numbers; the message names the first.
    """
    given = with_prefix(checkpoint.state, prefix)
    try:
        expanded = _fit(model, given, 'expand_shared_bias')
        resized = _fit(model, expanded, 'resize_positions')
    except InputError as error:
        raise InputError(f'{checkpoint}: {error}') from error
    own = model.state_dict()
    kept = _check(model, resized, own, str(checkpoint), tuple(may_be_missing))
    used = {name: value for name, value in resized.items() if name in own}
    check_numbers(used, str(checkpoint), own)
    whole = {**own, **used}
    if not report:
        return whole
    filled = {name.removeprefix(prefix) for name in checkpoint.filled}
    weights = {n: value for n, value in used.items() if not n.endswith(EXTRA_STATE)}
    rows = {
        'loaded': [*weights, *(n for n in used if n not in weights and n in given)],
        'of these expanded': [n for n in weights if n not in given],
        'of these resized': [
            f'{n} {tuple(expanded[n].shape)} → {tuple(value.shape)}'
            for n, value in weights.items()
            if expanded[n] is not value
        ],
        'of these implied': [n for n in weights if n in filled],
        'missing, initial value kept': kept,
        'left over': [n for n in resized if n not in own and n not in filled]
        + [n for n in checkpoint.state if not n.startswith((prefix, *checkpoint.filled))],
    }
    print_log(f'{type(model).__name__} from {checkpoint}\n{_table(rows)}', logger='current')
    return whole


def parts_with_start(model: nn.Module, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Parts of a model that a checkpoint holds nothing of, and that another file has filled.

    Args:
        model: its official pretraining file holds no tokenizer, which has an ``init_cfg`` of its
            own.
        checkpoint: of the whole model.

    Returns:
        Their names, each with a dot.
    """
    names = (f'{name}.' for name, part in model.named_children() if getattr(part, 'init_cfg', None))
    return tuple(n for n in names if not any(key.startswith(n) for key in checkpoint.state))


def check_part(
    part: nn.Module,
    state: dict[str, Tensor],
    unplaced: Sequence[str],
    may_be_missing: Iterable[str],
) -> None:
    """Refuse a state dict of which a vision Transformer would take nothing, or a part.

    mmengine loads without being strict and only logs what did not fit: ``load_from`` outside of
    this project's tools, ``get_model``, ``init_model``, an ``init_cfg`` of the model around it.
    A dictionary without the first layer's norm is let through if something of it lies within this
    part's layers: adapters are loaded so. So is one that has nothing of this part, if all of it is
    of others: a head alone, for instance.

    Args:
        part: the vision Transformer.
        state: tensors by its names.
        unplaced: names given that the models around it have no place for.
        may_be_missing: beginnings of names that may keep their initial values.

    Raises:
        ValueError: nothing is of this part, but something of none; or by the names of another
            project or network, or does not fit.
    """
    kind = type(part).__name__
    if not state:
        if unplaced:
            raise InputError(
                f'the weights given hold nothing of {kind} within its model, which would stay '
                f'random, but {unplaced[0]}, for which the model has no place: {HOW_TO_LOAD}'
            )
        return
    naming = find_naming(state)
    own = part.state_dict()
    if naming is not None and naming.signature not in own:
        raise InputError(
            f'the weights given to {kind} have the names of {naming.project}, of which mmengine '
            f'would load next to nothing: {HOW_TO_LOAD}'
        )
    if SIGNATURE in state:
        stray = [n for n in state if n not in own and n.split('.')[0] not in VIT_PARTS]
        if stray:
            raise InputError(
                f'the weights given to {kind} hold {stray[0]}, as files of the official release '
                f'do, which would be dropped: {HOW_TO_LOAD}'
            )
        _check(part, state, own, 'the file given', (*may_be_missing, EXTRA_STATE))
    elif not {n.split('.')[0] for n in own}.intersection(n.split('.')[0] for n in state):
        # Adapters lie within layers, and so have the names of these before their own.
        raise InputError(
            f'the weights given to {kind} hold {next(iter(state))}, and nothing of any of its '
            f'layers, which would stay random: {HOW_TO_LOAD}'
        )


def _fit(model: nn.Module, state: dict[str, Tensor], method: str) -> dict[str, Tensor]:
    for name, module in model.named_modules():
        if hasattr(module, method):
            prefix = f'{name}.' if name else ''
            part = with_prefix(state, prefix)
            # A part that the checkpoint lacks is named when names are compared.
            part = getattr(module, method)(part) if part else part
            rest = {n: value for n, value in state.items() if not n.startswith(prefix)}
            state = rest | {f'{prefix}{n}': value for n, value in part.items()}
    return state


def _check(
    model: nn.Module,
    state: dict[str, Tensor],
    own: dict[str, Tensor],
    source: str,
    may_be_missing: tuple[str, ...],
) -> list[str]:
    """Raise unless ``state`` fits; return the names that keep their initial values."""
    kept = [
        n for n in own if n not in state and (n.startswith(may_be_missing) or n.endswith(OPTIONAL))
    ]
    for name, wanted in own.items():
        if name in kept:
            continue
        if name not in state:
            raise InputError(
                f'{source} is a checkpoint of another architecture: it has no tensor {name} of '
                f'shape {tuple(wanted.shape)} for {type(model).__name__}; it holds '
                f'{", ".join(list(state)[:3]) or "nothing of this model"}, …'
            )
        if state[name].shape != wanted.shape:
            raise InputError(
                f'{source} is a checkpoint of another architecture: {name} has shape '
                f'{tuple(state[name].shape)} in the file but {tuple(wanted.shape)} in '
                f'{type(model).__name__}: set the model’s sizes to those of the file.'
            )
    parts = {name.split('.')[0] for name in own}
    for name, value in state.items():
        if name not in own and name.split('.')[0] in parts:
            raise InputError(
                f'{source} is a checkpoint of another architecture: {type(model).__name__} has no '
                f'place for {name} of shape {tuple(value.shape)}: set the model’s depth, layer '
                'scale (init_values) and positions to those of the file.'
            )
    return kept


def _table(rows: dict[str, list[str]]) -> str:
    """One line per row that has tensors: what, how many, and which."""
    width = max(len(row) for row in rows)
    return '\n'.join(
        f'  {row:<{width}}  {len(names):>4}  {_abbreviate(names)}'.rstrip()
        for row, names in rows.items()
        if names
    )


def _abbreviate(names: list[str]) -> str:
    """Names with numbers as ``*``, each once, the first few."""
    patterns = list(dict.fromkeys(re.sub(r'\.\d+(?=\.)', '.*', name) for name in names))
    more = ', …' if len(patterns) > NAMES_PER_ROW else ''
    return ', '.join(patterns[:NAMES_PER_ROW]) + more

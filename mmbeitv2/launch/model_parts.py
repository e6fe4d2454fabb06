"""The parts of a model's config against the classes that they name, or that are named for them."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS

from mmbeitv2.errors import InputError
from mmbeitv2.launch.components import check_component
from mmbeitv2.models.quantizer import NormEMAQuantizer
from mmbeitv2.models.vit import VisionTransformer

MODEL_PARTS = (
    'auxiliary_head',
    'backbone',
    'data_preprocessor',
    'decode_head',
    'head',
    'module',
    'neck',
    'target_generator',
    'teacher',
)
# Arguments of this package's models that are those of a class.
UNTYPED = {
    'arch': VisionTransformer,
    'decoder': VisionTransformer,
    'encoder': VisionTransformer,
    'quantizer': NormEMAQuantizer,
}


def check_model(model: Any, key: str, scope: str | None) -> None:
    """Check a model's config and those of its parts, as far as types and arguments tell.

    Args:
        model: its config.
        key: dotted, where it stands.
        scope: the run's ``default_scope``.

    Raises:
        ValueError: see :func:`check_component`.
    """
    # Whoever builds a part of another package may add arguments; this one's are built as they are.
    own = isinstance(model, Mapping) and str(model.get('type')).startswith('mmbeitv2.')
    # VQKD takes out what its teacher sees.
    given = ('data_preprocessor', 'module', *(('view',) if key.endswith('.teacher') else ()))
    check_component(model, key, MODELS, scope, given=given, complete=own and '.' not in key)
    if own:
        _check_arguments_of_parts(model, key)
    for name in MODEL_PARTS:
        for part_key, part in entries(model.get(name), f'{key}.{name}'):
            untyped = isinstance(part, Mapping) and 'type' not in part
            if not (name == 'data_preprocessor' and untyped):
                check_model(part, part_key, scope)


def _check_arguments_of_parts(model: Mapping[str, Any], key: str) -> None:
    """Check what this package's models hand on to classes that no type names."""
    for name, kind in UNTYPED.items():
        part = model.get(name)
        if isinstance(part, Mapping) and 'type' not in part:
            check_component({**part, 'type': kind}, f'{key}.{name}', MODELS, None, complete=False)


def entries(part: Any, key: str) -> list[tuple[str, Any]]:
    """Return the dotted key and value of each entry of a list, or of the one that stands alone.

    Args:
        part: a list, one entry, or None for none.
        key: dotted, where it stands.
    """
    if part is None:
        return []
    if isinstance(part, list | tuple):
        return [(f'{key}.{index}', entry) for index, entry in enumerate(part)]
    return [(key, part)]


def check_num_codes(cfg: Config, phases: Sequence[str]) -> None:
    """Check that whoever evaluates codes counts as many as the model has.

    Args:
        cfg: the run's config.
        phases: whose evaluators are used.

    Raises:
        ValueError: another number; the message names both.
    """
    model = cfg.get('model') or {}
    quantizer = (model.get('target_generator') or model).get('quantizer')
    if not isinstance(quantizer, Mapping):
        return
    default = inspect.signature(NormEMAQuantizer).parameters['num_codes'].default
    num_codes = quantizer.get('num_codes', default)
    for phase in {'val', 'test'} & set(phases):
        for key, metric in _metrics(cfg.get(f'{phase}_evaluator'), f'{phase}_evaluator'):
            counted = metric.get('num_codes', num_codes)
            if counted != num_codes:
                raise InputError(
                    f'{key}.num_codes is {counted!r} but the model has {num_codes!r} codes: set '
                    f'{key}.num_codes={num_codes!r}'
                )


def _metrics(evaluator: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for entry_key, entry in entries(evaluator, key):
        if isinstance(entry, Mapping):
            if 'metrics' in entry:
                yield from _metrics(entry['metrics'], f'{entry_key}.metrics')
            else:
                yield entry_key, entry

"""The parts of a model's config against the classes that they name, or that are named for them."""

from collections.abc import Mapping
from typing import Any

from mmengine.registry import MODELS

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
    given = ('data_preprocessor', 'module')
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

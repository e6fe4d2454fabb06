"""The config that a training checkpoint notes, read as data: nothing of the file is run."""

import ast
import re
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmbeitv2.errors import InputError

# Registries whose components a noted config may name. mmengine would import any other dotted name,
# which a stranger's file could choose.
SCOPES = ('mmbeitv2', 'mmpretrain', 'mmcls', 'mmseg', 'mmcv', 'mmengine')
# mmpretrain registers torchvision's transforms as ``torchvision/NAME``.
NAME = re.compile(rf'(({"|".join(SCOPES)})\.)?(torchvision/)?\w+')


def noted_config(meta: Mapping[str, Any], source: str) -> Config | None:
    """Config that a run has written into its checkpoint, None where there is none.

    Args:
        meta: the checkpoint's ``meta``.
        source: of the checkpoint, for messages.

    Raises:
        ValueError: it holds anything but plain values, or names what is no registered component.
    """
    text = meta.get('cfg')
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        values = {
            _name(statement): _value(statement.value)
            for statement in map(_assignment, ast.parse(text).body)
        }
    except (SyntaxError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f'the config within {source} holds more than plain values ({error}): give the run’s '
            'own file with --config'
        ) from error
    _check_types(values, source)
    return Config(values)


def _assignment(statement: ast.stmt) -> ast.Assign:
    if not isinstance(statement, ast.Assign):
        raise ValueError(f'no assignment in line {statement.lineno}')
    return statement


def _name(statement: ast.Assign) -> str:
    target = statement.targets[0]
    if len(statement.targets) > 1 or not isinstance(target, ast.Name):
        raise ValueError(f'an assignment to no plain name in line {statement.lineno}')
    return target.id


def _value(node: ast.expr) -> Any:
    """A literal; as mmengine writes them, dictionaries are calls of ``dict``."""
    if isinstance(node, ast.Call):
        if not isinstance(node.func, ast.Name) or node.func.id != 'dict' or node.args:
            raise ValueError(f'a call in line {node.lineno}')
        return {
            key: value
            for word in node.keywords
            for key, value in (
                [(word.arg, _value(word.value))] if word.arg else _value(word.value).items()
            )
        }
    if isinstance(node, ast.Dict):
        if None in node.keys:
            raise ValueError(f'an unpacked dictionary in line {node.lineno}')
        return {_value(key): _value(value) for key, value in zip(node.keys, node.values) if key}
    if isinstance(node, ast.List):
        return [_value(child) for child in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_value(child) for child in node.elts)
    return ast.literal_eval(node)


def _check_types(node: Any, source: str) -> None:
    if isinstance(node, Mapping):
        for key in ('type', '_scope_'):
            kind = node.get(key)
            if isinstance(kind, str) and not NAME.fullmatch(kind):
                raise InputError(
                    f'the config within {source} names {kind!r}, which is no component of '
                    f'{", ".join(SCOPES)}: give a config that you trust with --config'
                )
        node = list(node.values())
    if isinstance(node, list | tuple):
        for child in node:
            _check_types(child, source)

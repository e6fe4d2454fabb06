"""Configs in JSON and YAML, read as data: nothing of them runs."""

import json
import os
import re
from pathlib import Path
from typing import Any

import yaml

from mmbeitv2.errors import InputError

# What mmengine replaces in a file's text before it is read.
PLACEHOLDER = re.compile(r'\{\{[^{}]*\}\}')
ENVIRONMENT = re.compile(r'\{\{[\'"]?\s*\$(\w+)\s*:\s*(\S*?)\s*[\'"]?\}\}')
# In JSON one that stands for a whole value.
PLACEHOLDER_VALUE = re.compile(r'(?<!")\{\{[^{}]*\}\}(?!")')


def json_config(path: Path, text: str) -> dict[str, Any]:
    """Read a JSON config, mmengine's placeholders in it as they are.

    Args:
        path: for messages.
        text: the file's.

    Raises:
        ValueError: it is no JSON, or no mapping.
    """
    try:
        values = json.loads(PLACEHOLDER_VALUE.sub('0', text))
    except (ValueError, RecursionError) as error:
        raise InputError(f'the config {path} is no JSON: {error}') from None
    return _mapping(values, path)


class _DataLoader(yaml.SafeLoader):
    """YAML's plain data, and the tuples that mmengine writes."""


_DataLoader.add_constructor(
    'tag:yaml.org,2002:python/tuple', lambda loader, node: loader.construct_sequence(node, True)
)


def yaml_config(path: Path, text: str) -> dict[str, Any]:
    """Read a YAML config as data, where mmengine's reader would run what its tags name.

    Args:
        path: for messages.
        text: the file's.

    Raises:
        ValueError: it is no YAML, holds more than data, or no mapping.
    """
    text = ENVIRONMENT.sub(lambda found: _from_environment(found, path), text)
    names = dict(fileBasename=path.name, fileBasenameNoExtension=path.stem, fileExtname=path.suffix)
    for name, value in names.items():
        text = re.sub(rf'\{{\{{\s*{name}\s*\}}\}}', value.replace('\\', r'\\'), text)
    quoted = PLACEHOLDER.sub(lambda found: _token(found.group()), text)
    try:
        values = yaml.load(quoted, Loader=_DataLoader)
    except (yaml.YAMLError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        raise InputError(f'the config {path} is no plain YAML: {reason}') from None
    return _mapping(values, path)


def _from_environment(found: re.Match[str], path: Path) -> str:
    name, default = found.groups()
    value = os.environ.get(name, default)
    if not value:
        raise InputError(
            f'the config {path} reads the environment variable {name}, which is not set: set it, '
            f'or write a default behind the colon, {{{{${name}:DEFAULT}}}}'
        )
    return value


def _mapping(values: Any, path: Path) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise InputError(f'the config {path} holds {type(values).__name__}, not keys and values')
    return values


def _token(placeholder: str) -> str:
    return f'placeholder_{placeholder.encode().hex()}_'


def as_json(values: dict[str, Any], path: Path) -> str:
    """Return the JSON text of a YAML config, mmengine's placeholders in it.

    Args:
        values: of :func:`yaml_config`.
        path: for messages.

    Raises:
        ValueError: a value or key that JSON does not have.
    """
    try:
        _refuse_other_keys(values, path)
        text = json.dumps(values)
    except InputError:
        raise
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f'the config {path} is no plain YAML: {error}; write it as .py') from None
    for pattern in (r'"placeholder_([0-9a-f]+)_"', r'placeholder_([0-9a-f]+)_'):
        text = re.sub(pattern, lambda found: bytes.fromhex(found.group(1)).decode(), text)
    return text


def _refuse_other_keys(node: Any, path: Path) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if not isinstance(key, str):
                raise InputError(
                    f'the config {path} has the key {key!r}, but only text is a key: write it as '
                    '.py'
                )
            _refuse_other_keys(value, path)
    elif isinstance(node, list | tuple):
        for value in node:
            _refuse_other_keys(value, path)

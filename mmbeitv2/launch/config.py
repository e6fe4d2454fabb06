"""Reading configs: this package's own by name, and variables that reach what derives from them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmbeitv2.errors import InputError, UserError
from mmbeitv2.launch.config_copies import bound_names, read_names
from mmbeitv2.launch.config_files import ConfigFile, read_inheritance
from mmbeitv2.launch.config_keys import (
    KNOWN_KEYS,
    check_names,
    check_option,
    keys_for,
    standing_places,
    warn_of_unread,
)
from mmbeitv2.launch.config_variables import evaluate
from mmbeitv2.own_configs import SCOPE_PREFIX, find_config

__all__ = ['SCOPE_PREFIX', 'find_config', 'load_config']


def load_config(filename: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, as ``Config.fromfile`` does, and apply command-line overrides.

    Three things are added. ``_base_`` may name this package's configs, as in
    ``_base_ = 'mmbeitv2::beitv2_vit-b16_300e.py'``; mmengine itself knows this notation only for a
    fixed list of OpenMMLab's packages. A variable that an inheriting config or ``options`` sets
    reaches what derives from it in the inherited files. And YAML is read as data alone.

    Args:
        filename: config file (``.py``, ``.json``, ``.yaml``), or ``'mmbeitv2::NAME.py'``.
        options: values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        FileNotFoundError: if the file, or a config it inherits, does not exist.
        ValueError: a file is faulty; a key is unknown; or an option changes nothing.
    """
    root = read_inheritance(str(filename))
    plain = evaluate(root, {})
    bound = {name for file in root.files() for name in bound_names(file)}
    read = {name for file in root.files() for name in read_names(file)}
    check_names(bound & plain.keys(), read, root.path)
    warn_of_unread(plain, (bound & plain.keys()) - KNOWN_KEYS - read, root.path)
    options = dict(options or {})
    for key, value in options.items():
        check_option(plain, key, value)
    variables = {
        key: value for key, value in options.items() if _is_variable(key, plain, bound & read)
    }
    cfg = _with_variables(root, variables) if variables else plain
    for key, value in options.items():
        if key in variables:
            alone = cfg if len(variables) == 1 else _with_variables(root, {key: value})
            _check_effect(plain, alone, key, value)
        else:
            _check_copied(plain, key, value)
    _check_shadow(plain, options)
    cfg.merge_from_dict(options)
    return cfg


def _is_variable(key: str, cfg: Config, substituted: set[str]) -> bool:
    """Whether the files put the value of an option's key into others while they are read."""
    name = key.split('.')[0]
    return name in substituted and (name not in KNOWN_KEYS or isinstance(cfg.get(name), str | int))


def _with_variables(root: ConfigFile, variables: Mapping[str, Any]) -> Config:
    try:
        return evaluate(root, variables)
    except UserError as error:
        said = ' '.join(f'{key}={value!r}' for key, value in variables.items())
        raise InputError(f'with --cfg-options {said}: {error}') from error


def _check_effect(plain: Config, changed: Config, key: str, value: Any) -> None:
    """Refuse an option that would change a variable after all who use it have been made."""
    if _at(plain, key) == value:
        return
    parts = sorted(k for k in KNOWN_KEYS if changed.get(k) != plain.get(k))
    if not parts or _at(changed, key) != value:
        raise InputError(
            f'--cfg-options {key}={value!r} would change nothing that is read from '
            f'{plain.filename}: {keys_for(plain, key)}'
        )
    print_log(f'{key}={value!r} changes {", ".join(parts)}', logger='current')


def _check_copied(plain: Config, key: str, value: Any) -> None:
    """Refuse a variable that has been put into others by whoever wrote the file, as a dump is."""
    name = key.split('.')[0]
    if name in KNOWN_KEYS or (key == name and plain[name] == value):
        return
    places = list(standing_places(plain, name, plain[name]))
    if places:
        raise InputError(
            f'--cfg-options {key}={value!r} would change nothing that is read: {plain.filename} '
            f'holds the value of {name} at {", ".join(places[:8])}; set that'
        )


def _at(cfg: Config, key: str) -> Any:
    node: Any = cfg
    for part in key.split('.'):
        if isinstance(node, list | tuple):
            node = node[int(part)]
        else:
            node = node.get(part) if hasattr(node, 'get') else None
    return node


def _check_shadow(cfg: Config, options: Mapping[str, Any]) -> None:
    """Refuse to change the preprocessor that a model with its own does not use."""
    shadowed = isinstance(cfg.get('model'), dict) and cfg.model.get('data_preprocessor')
    for key in options:
        if shadowed and key.split('.')[0] == 'data_preprocessor':
            raise InputError(
                f'--cfg-options {key}: the model of {cfg.filename} has a preprocessor of its own, '
                f'which is used instead: set model.{key}'
            )

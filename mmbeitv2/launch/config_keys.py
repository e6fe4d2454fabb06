"""The top-level keys of a config, and what a misspelled one was to be."""

import difflib
import inspect
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import FlexibleRunner, Runner

from mmbeitv2.errors import InputError

# Read by the tools, by the runners outside their arguments, and by mmpretrain's and mmseg's.
READ_ELSEWHERE = (
    'auto_scale_lr',
    'custom_imports',
    'find_unused_parameters',
    'launcher',
    'model_wrapper_cfg',
    'runner_type',
    'sync_bn',
    'test_pipeline',
    'tta_cfg',
    'tta_model',
    'tta_pipeline',
)
KNOWN_KEYS = {
    *inspect.signature(Runner).parameters,
    *inspect.signature(FlexibleRunner).parameters,
    *READ_ELSEWHERE,
} - {'cfg'}
# Variables that OpenMMLab's configs name alike; a config that was written out still has them.
CONVENTIONAL = {'train_pipeline', 'val_pipeline', 'test_pipeline'}
# Of mmcv 1, which nothing reads any more.
FORMER_KEYS = {
    'checkpoint_config': 'default_hooks.checkpoint',
    'data': 'train_dataloader, val_dataloader and test_dataloader',
    'evaluation': 'val_evaluator and train_cfg.val_interval',
    'log_config': 'default_hooks.logger',
    'lr_config': 'param_scheduler',
    'optimizer': 'optim_wrapper.optimizer',
    'optimizer_config': 'optim_wrapper.clip_grad',
    'resume_from': 'resume and load_from',
    'runner': 'train_cfg',
    'total_epochs': 'train_cfg.max_epochs',
    'workflow': 'train_cfg.val_interval',
}
# Read before the options are, or written by the tools.
ELSEWHERE = {
    'custom_imports': 'set it in a config that inherits this one',
    'launcher': 'give --launcher',
}
ALIKE = 0.8


def nearest(name: str, known: Iterable[str], alike: float = ALIKE) -> str | None:
    """Return the known name that a misspelled one was to be, None where none is alike.

    Args:
        name: as it was written.
        known: the names there are.
        alike: from 0 to 1, the share of letters that must agree.
    """
    return next(iter(difflib.get_close_matches(name, sorted(known), 1, alike)), None)


def dotted_keys(node: Any, key: str = '') -> Iterator[tuple[str, Any]]:
    """Yield the dotted key and value of all that stands below a node.

    Args:
        node: a config or a part of it.
        key: the node's own.
    """
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(node, Mapping | Config):
        items = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    for name, child in items:
        path = f'{key}.{name}' if key else str(name)
        yield path, child
        yield from dotted_keys(child, path)


def standing_places(cfg: Mapping[str, Any], name: str, value: Any) -> Iterator[str]:
    """Yield the keys into which a file has probably put a variable's value.

    Text and what has parts is known by itself, a number only under the variable's name.

    Args:
        cfg: the config.
        name: the variable.
        value: its value.
    """
    for key, found in dotted_keys({k: v for k, v in cfg.items() if k in KNOWN_KEYS}):
        if found == value and isinstance(found, bool) == isinstance(value, bool):
            telling = isinstance(value, str | dict | list | tuple) and bool(value)
            if telling or nearest(key.split('.')[-1], [name]):
                yield key


def keys_for(cfg: Mapping[str, Any], key: str) -> str:
    """Say which keys of a config are called like one that has no effect.

    Args:
        cfg: the config.
        key: as ``image_size`` or ``train_pipeline.0.size``.
    """
    last = key.split('.')[-1]
    used = [(k, v) for k, v in dotted_keys(cfg) if k.split('.')[0] in KNOWN_KEYS]
    others = [(k, k.split('.')[-1]) for k, _ in used if '.' in k]
    found = [k for k, name in others if name == last]
    if not found:
        alike = difflib.get_close_matches(last, sorted({n for _, n in others}), 2, ALIKE)
        found = [k for k, name in others if name in alike]
    if not found:
        return 'no key of the config is called so'
    shown = ', '.join(found[:8]) + (f' and {len(found) - 8} more' if len(found) > 8 else '')
    return f'set {shown}'


def check_names(names: set[str], substituted: set[str], path: Path) -> None:
    """Refuse top-level names of config files that are a known key misspelled, or of mmcv 1.

    Names that a file uses itself are its variables, and other names may be the user's own.

    Args:
        names: that they set.
        substituted: names that the files use.
        path: for the message.

    Raises:
        ValueError: naming the key that was meant.
    """
    for name in sorted(names - KNOWN_KEYS - CONVENTIONAL - substituted):
        if name in FORMER_KEYS:
            raise InputError(
                f'{path} sets {name}, which nothing reads since mmcv 1: set {FORMER_KEYS[name]}'
            )
        meant = nearest(name, KNOWN_KEYS | substituted & names)
        if meant is not None and meant[0] == name[0]:
            raise InputError(
                f'{path} sets {name}, which nothing reads: did you mean {meant}? If it is a value '
                'of your own, call it otherwise'
            )


def warn_of_unread(cfg: Config, names: set[str], path: Path) -> None:
    """Say which values of config files are called like a key that has another value.

    Args:
        cfg: read from them.
        names: that they set, and that neither they nor a run read.
        path: for the message.
    """
    keys = [(k, v) for k, v in dotted_keys(cfg) if k.split('.')[0] in KNOWN_KEYS and '.' in k]
    for name in sorted(names):
        same = [(key, value) for key, value in keys if key.split('.')[-1] == name]
        if same and all(value != cfg[name] for _, value in same):
            print_log(
                f'{path} sets {name}={cfg[name]!r}, which nothing reads: {keys_for(cfg, name)} '
                'where that is meant',
                logger='current',
                level=logging.WARNING,
            )


def check_option(cfg: Config, key: str, value: Any) -> None:
    """Refuse an option whose key has no place in a config.

    Args:
        cfg: the config, without the option.
        key: dotted.
        value: the option's.

    Raises:
        ValueError: naming the key that was meant, or those that there are.
    """
    first, *rest = parts = key.split('.')
    if first in ELSEWHERE:
        raise InputError(f'--cfg-options {key} comes too late: {ELSEWHERE[first]}')
    if not all(parts):
        raise InputError(f'--cfg-options {key}: a part of the key is empty; write KEY.KEY=VALUE')
    if first not in cfg and first not in KNOWN_KEYS:
        meant = nearest(first, KNOWN_KEYS | cfg.keys())
        cure = f'did you mean {meant}?' if meant else keys_for(cfg, key)
        raise InputError(f'--cfg-options {key}: the config has no {first}: {cure}')
    node: Any = cfg
    for depth, part in enumerate(parts):
        above = '.'.join(parts[:depth])
        if isinstance(node, list):
            _check_index(node, part, key, above)
            if depth == len(rest) and not isinstance(value, dict):
                raise InputError(
                    f'--cfg-options {key}: an entry cannot be set by itself: give the whole list, '
                    f'{above}="[...]"'
                )
            node = node[int(part)]
        elif isinstance(node, Mapping) or node is cfg:
            if part not in node:
                return
            node = node[part]
        else:
            raise InputError(
                f'--cfg-options {key}: {above} is {node!r}, which has no {part}; set {above} itself'
            )


def _check_index(node: list[Any], part: str, key: str, above: str) -> None:
    if not part.isdigit() or int(part) >= len(node):
        raise InputError(
            f'--cfg-options {key}: {above} is a list; allowed after it: 0 to {len(node) - 1}, '
            f'found {part!r}'
        )

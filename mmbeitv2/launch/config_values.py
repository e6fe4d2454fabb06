"""Values of a config that no run can use: numbers out of range, texts for numbers, parts amiss."""

import logging
import math
import multiprocessing
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.logging import print_log

from mmbeitv2.errors import InputError
from mmbeitv2.launch.config_keys import dotted_keys


class Rule(NamedTuple):
    """What a value must be."""

    holds: Callable[[Any], bool]
    allowed: str


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _betas(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) >= 2
        and all(_is_number(v) and 0 <= v < 1 for v in value)
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


COUNT = Rule(lambda v: _is_whole(v) and v >= 1, 'a whole number from 1 on')
COUNT_OR_NONE = Rule(lambda v: v is None or COUNT.holds(v), 'None or a whole number from 1 on')
FROM_0 = Rule(lambda v: _is_whole(v) and v >= 0, 'a whole number from 0 on')
INTERVAL = Rule(
    lambda v: v is None or (_is_whole(v) and (v == -1 or v >= 1)), '1 or more, or -1 for never'
)
NOT_NEGATIVE = Rule(lambda v: _is_number(v) and v >= 0, 'a number from 0 on')
POSITIVE = Rule(lambda v: _is_number(v) and v > 0, 'a number above 0')
SWITCH = Rule(lambda v: isinstance(v, bool), 'True or False')
TEXT = Rule(_is_text, 'a text that is not empty')
TEXT_OR_NONE = Rule(lambda v: v is None or _is_text(v), 'None or a text that is not empty')
LEVEL = Rule(
    lambda v: isinstance(v, int) or isinstance(logging.getLevelName(str(v).upper()), int),
    'DEBUG, INFO, WARNING or ERROR',
)

MAPPING = Rule(lambda v: v is None or isinstance(v, Mapping), 'dict(...)')

# By a pattern of dotted keys, in which * stands for one name.
RULES = {
    'auto_scale_lr.base_batch_size': COUNT,
    'auto_scale_lr.enable': SWITCH,
    'default_hooks.checkpoint.interval': INTERVAL,
    'default_hooks.checkpoint.max_keep_ckpts': INTERVAL,
    'default_hooks.logger.interval': COUNT,
    'default_scope': TEXT_OR_NONE,
    'env_cfg.dist_cfg': MAPPING,
    'env_cfg.mp_cfg.mp_start_method': Rule(
        lambda v: v in multiprocessing.get_all_start_methods(), 'fork, forkserver or spawn'
    ),
    'experiment_name': TEXT_OR_NONE,
    'load_from': TEXT_OR_NONE,
    'log_level': LEVEL,
    'optim_wrapper.accumulative_counts': COUNT,
    'optim_wrapper.clip_grad.clip_value': POSITIVE,
    'optim_wrapper.clip_grad.max_norm': POSITIVE,
    'optim_wrapper.paramwise_cfg': MAPPING,
    'optim_wrapper.optimizer.betas': Rule(_betas, 'two numbers from 0 to below 1'),
    'optim_wrapper.optimizer.eps': NOT_NEGATIVE,
    'optim_wrapper.optimizer.lr': NOT_NEGATIVE,
    'optim_wrapper.optimizer.momentum': NOT_NEGATIVE,
    'optim_wrapper.optimizer.weight_decay': NOT_NEGATIVE,
    'param_scheduler.*.begin': FROM_0,
    'param_scheduler.begin': FROM_0,
    'param_scheduler.end': COUNT,
    'param_scheduler.*.end': COUNT,
    'param_scheduler.*.eta_min': NOT_NEGATIVE,
    'randomness.seed': Rule(
        lambda v: v is None or (FROM_0.holds(v) and v < 2**32), 'None or 0 to 4294967295'
    ),
    'resume': SWITCH,
    'tokenizer_checkpoint': TEXT_OR_NONE,
    'train_cfg.max_epochs': COUNT,
    'train_cfg.max_iters': COUNT,
    'train_cfg.val_begin': FROM_0,
    'train_cfg.val_interval': COUNT,
    'work_dir': TEXT_OR_NONE,
    '*_dataloader.batch_size': COUNT,
    '*_dataloader.dataset.data_root': Rule(
        lambda v: (
            v is None
            or isinstance(v, str)
            or (isinstance(v, list | tuple) and bool(v) and all(isinstance(one, str) for one in v))
        ),
        'None, a folder, or a list of folders and files',
    ),
    '*_dataloader.drop_last': SWITCH,
    '*_dataloader.num_workers': FROM_0,
    '*_dataloader.persistent_workers': SWITCH,
    '*_dataloader.pin_memory': SWITCH,
    '*_dataloader.prefetch_factor': COUNT_OR_NONE,
}
PATTERNS = [
    (re.compile(re.escape(pattern).replace(r'\*', '[^.]+')), rule)
    for pattern, rule in RULES.items()
]
GROUPS = {
    'train': ('train_dataloader', 'train_cfg', 'optim_wrapper'),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator'),
}
PARTS = (
    'model',
    'data_preprocessor',
    'default_hooks',
    'env_cfg',
    'log_processor',
    'optim_wrapper',
    'test_cfg',
    'test_dataloader',
    'train_cfg',
    'train_dataloader',
    'val_cfg',
    'val_dataloader',
    'visualizer',
)


def check_values(cfg: Config, phases: Sequence[str]) -> None:
    """Check what can be said of a config's values without knowing its components.

    Args:
        cfg: the run's config.
        phases: those of the run, of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        ValueError: the first value amiss: its dotted key, itself, and what is allowed.
    """
    for key in PARTS:
        part = cfg.get(key)
        if part is not None and not isinstance(part, Mapping):
            raise InputError(f'{key} is {part!r}, allowed: dict(...) or None')
    if not cfg.get('model'):
        raise InputError(f'{cfg.filename} has no model: set model=dict(type=..., ...)')
    _check_groups(cfg, phases)
    for key, value in dotted_keys(cfg):
        for pattern, rule in PATTERNS:
            if pattern.fullmatch(key) and not rule.holds(value):
                raise InputError(f'{key} is {value!r}, allowed: {rule.allowed}')
        if key.endswith('init_cfg.checkpoint') and not TEXT_OR_NONE.holds(value):
            raise InputError(f'{key} is {value!r}, allowed: {TEXT.allowed}')
    work_dir = cfg.get('work_dir')
    if work_dir and re.match(r'[\w.+-]+://', work_dir):
        raise InputError(f'work_dir is {work_dir!r}, allowed: a folder of this machine')
    if 'train' in phases:
        _check_clipping(cfg)
        _check_ends(cfg)


def _check_groups(cfg: Config, phases: Sequence[str]) -> None:
    for phase, keys in GROUPS.items():
        missing = [key for key in keys if cfg.get(key) is None]
        # The test alone needs its own; a run without validation has none of the three.
        needed = phase == phases[0]
        if missing and (needed or len(missing) < len(keys)):
            there = '' if needed else f', but {", ".join(k for k in keys if k not in missing)}'
            raise InputError(
                f'{cfg.filename} has no {" and no ".join(missing)}{there}: set '
                f'{", ".join(keys)}' + ('' if needed else ', or none of them')
            )


def _check_clipping(cfg: Config) -> None:
    clipping = cfg.optim_wrapper.get('clip_grad')
    if clipping is None:
        return
    if not isinstance(clipping, Mapping):
        raise InputError(f'optim_wrapper.clip_grad is {clipping!r}, allowed: dict(max_norm=...)')
    needed = 'clip_value' if clipping.get('type') == 'value' else 'max_norm'
    if needed not in clipping:
        raise InputError(
            f'optim_wrapper.clip_grad is {dict(clipping)}, which lacks {needed}: set '
            f'optim_wrapper.clip_grad.{needed}'
        )


def _check_ends(cfg: Config) -> None:
    """Refuse a schedule that ends before it begins; say where one is cut off by the run's end."""
    schedulers = cfg.get('param_scheduler') or []
    if isinstance(schedulers, Mapping):
        schedulers = [schedulers] if 'type' in schedulers else []
    if not isinstance(schedulers, list | tuple):
        raise InputError(f'param_scheduler is {schedulers!r}, allowed: a list of dict(type=...)')
    for index, scheduler in enumerate(schedulers):
        if not isinstance(scheduler, Mapping):
            continue  # the next check names it
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        key = f'param_scheduler.{index}.end'
        if isinstance(end, int) and end <= begin:
            raise InputError(f'{key} is {end}, allowed: more than its begin, {begin}')
        _warn_of_one_step(scheduler, f'param_scheduler.{index}')
        unit = 'max_epochs' if scheduler.get('by_epoch', True) else 'max_iters'
        last = cfg.train_cfg.get(unit)
        if isinstance(end, int) and isinstance(last, int) and end > last:
            print_log(
                f'{key} is {end}, but train_cfg.{unit} {last}: the run ends before its learning '
                f'rate is down; set {key} to {last} where that is not meant',
                logger='current',
                level=logging.WARNING,
            )


def _warn_of_one_step(scheduler: Mapping[str, Any], key: str) -> None:
    """Say where a warm-up never rises: mmengine's ends one step before its ``end``."""
    # With one more option its steps are iterations, of which an epoch has many.
    if scheduler.get('type') != 'LinearLR' or scheduler.get('convert_to_iter_based'):
        return
    begin, end, factor = (scheduler.get(name) for name in ('begin', 'end', 'start_factor'))
    if end == (begin or 0) + 1 and isinstance(factor, int | float) and factor < 1:
        print_log(
            f'{key} warms up over one step, in which the rate stays at start_factor={factor:g} of '
            f'itself, and what follows goes on from there: set {key}.end to {end + 1} or more, or '
            'leave it out',
            logger='current',
            level=logging.WARNING,
        )

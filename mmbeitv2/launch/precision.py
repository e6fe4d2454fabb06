"""The command line's precision, written into a config and checked before a run."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from mmengine.config import Config

from mmbeitv2.engine.precision import PRECISIONS, Precision, choose_precision
from mmbeitv2.errors import InputError
from mmbeitv2.registry import type_name

WRAPPER = 'MixedPrecisionOptimWrapper'
# Wrappers of mmengine whose place ours can take, and what only they understand.
REPLACED = ('OptimWrapper', 'AmpOptimWrapper', 'BFloat16OptimWrapper')
FOREIGN_KEYS = ('dtype', 'use_fsdp')


def add_precision_argument(parser: argparse.ArgumentParser, what: str) -> None:
    """Add ``--precision``.

    Args:
        parser: extended in place.
        what: for the help, such as ``'training and validation'``.
    """
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        help=f"of the matrix products of {what}; the config's unless given, auto in ours: bfloat16 "
        'where the device multiplies it natively, float16 on older GPUs, float32 elsewhere',
    )


def set_training_precision(cfg: Config, precision: str) -> None:
    """Train, validate and test in a precision, whatever the config has.

    Args:
        cfg: changed in place.
        precision: one of ``PRECISIONS``.

    Raises:
        ValueError: the config has a wrapper that cannot be replaced.
    """
    kind = type_name(cfg.optim_wrapper.get('type', 'OptimWrapper')).split('.')[-1]
    if kind not in (WRAPPER, *REPLACED):
        raise InputError(
            f'--precision and --amp choose the precision of mmbeitv2.{WRAPPER}, but the config has '
            f'optim_wrapper.type={kind}: set the precision as that one takes it.'
        )
    for key in FOREIGN_KEYS:
        cfg.optim_wrapper.pop(key, None)
    cfg.optim_wrapper.update(type=f'mmbeitv2.{WRAPPER}', precision=precision)
    set_evaluation_precision(cfg, precision)


def set_evaluation_precision(cfg: Config, precision: str) -> None:
    """Validate and test in a precision, with mmengine's loops replaced by ours.

    Args:
        cfg: changed in place.
        precision: one of ``PRECISIONS``.

    Raises:
        ValueError: the config has a loop that cannot be replaced.
    """
    for key, kind in (('val_cfg', 'ValLoop'), ('test_cfg', 'TestLoop')):
        loop = cfg.get(key)
        if loop is None:
            continue
        found = type_name(loop.get('type', kind))
        if found.split('.')[-1] != kind:
            raise InputError(
                f'--precision and --amp choose the precision of mmbeitv2.{kind}, but the config '
                f'has {key}.type={found}: set the precision as that one takes it.'
            )
        loop.pop('fp16', None)
        loop.update(type=f'mmbeitv2.{kind}', precision=precision)


def amp_precision(cfg: Config) -> str:
    """What ``--amp`` asks for: the config's mixed precision if it names one, else what fits.

    mmengine's wrapper calls it ``dtype``, ours ``precision``. bfloat16 also where a CPU only
    emulates it, since it was asked for.
    """
    asked = cfg.optim_wrapper.get('dtype')
    if asked is not None:
        return asked
    if cfg.optim_wrapper.get('precision') in ('bfloat16', 'float16'):
        return cfg.optim_wrapper.precision
    return 'bfloat16' if choose_precision().dtype == torch.float32 else 'auto'


def check_precision(cfg: Config, phases: Sequence[str]) -> None:
    """Check that this machine has the precisions that a config names.

    Args:
        cfg: the run's config.
        phases: those of the run, of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        ValueError: it has not, or they are misspelled, or float16 in a sharded run.
    """
    for phase in phases:
        loop = cfg.get(f'{phase}_cfg') or {}
        if phase == 'train' or loop.get('precision') is None:
            key, asked = 'optim_wrapper', _training_precision(cfg, loop, phase)
        else:
            key, asked = f'{phase}_cfg', loop['precision']
        try:
            chosen = choose_precision(asked or 'auto')
        except ValueError as error:
            raise InputError(f'{key}.{error}') from None
        strategy = type_name((cfg.get('strategy') or {}).get('type', ''))
        if phase == 'train' and strategy.endswith('ShardedStrategy'):
            _check_sharded(chosen)


def _training_precision(cfg: Config, loop: Mapping[str, Any], phase: str) -> str | None:
    """What the optimiser's wrapper names, where training or an evaluation takes it."""
    follows = type_name(loop.get('type', '')) in ('mmbeitv2.ValLoop', 'mmbeitv2.TestLoop')
    return (
        (cfg.get('optim_wrapper') or {}).get('precision') if phase == 'train' or follows else None
    )


def _check_sharded(chosen: Precision) -> None:
    if chosen.dtype == torch.float16:
        raise InputError(
            f'precision is {chosen}, whose scaled losses ShardedStrategy does not know: set '
            'precision to bfloat16 or float32, or train without strategy and runner_type.'
        )

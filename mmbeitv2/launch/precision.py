"""The command line's precision, written into a config and checked before a run."""

import argparse
from collections.abc import Sequence

import torch
from mmengine.config import Config

from mmbeitv2.engine.precision import PRECISIONS, choose_precision
from mmbeitv2.errors import InputError

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
    kind = str(cfg.optim_wrapper.get('type', 'OptimWrapper')).split('.')[-1]
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
    """
    for key, kind in (('val_cfg', 'ValLoop'), ('test_cfg', 'TestLoop')):
        loop = cfg.get(key)
        if loop is not None and str(loop.get('type', kind)).split('.')[-1] == kind:
            loop.pop('fp16', None)
            loop.update(type=f'mmbeitv2.{kind}', precision=precision)


def amp_precision(cfg: Config) -> str:
    """What ``--amp`` asks for: ``optim_wrapper.dtype`` if there is one, else mixed precision.

    bfloat16 also where a CPU only emulates it, since it was asked for.
    """
    asked = cfg.optim_wrapper.get('dtype')
    if asked is not None:
        return asked
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
        key = 'optim_wrapper' if phase == 'train' else f'{phase}_cfg'
        asked = (cfg.get(key) or {}).get('precision')
        try:
            chosen = choose_precision(asked or 'auto')
        except ValueError as error:
            raise InputError(f'{key}.{error}') from None
        sharded = str((cfg.get('strategy') or {}).get('type')).endswith('ShardedStrategy')
        if phase == 'train' and sharded and chosen.dtype == torch.float16:
            raise InputError(
                f'precision is {chosen}, whose scaled losses ShardedStrategy does not know: set '
                'precision to bfloat16 or float32, or train without strategy and runner_type.'
            )

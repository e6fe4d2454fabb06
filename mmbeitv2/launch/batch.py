"""The total batch of a run, and the learning rate that belongs to it."""

import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

from mmengine.config import Config

from mmbeitv2.errors import InputError
from mmbeitv2.launch.launchers import VARIABLES
from mmbeitv2.registry import type_name


class BatchReport(NamedTuple):
    """What a run's log says about its total batch."""

    message: str
    level: int  # of Python's logging


def num_processes(launcher: str) -> int:
    """Processes of this run: what the launcher has put into the environment, 1 without one."""
    return int(os.environ[VARIABLES[launcher].world_size]) if launcher != 'none' else 1


def settle_total_batch(cfg: Config, processes: int, accumulate: bool) -> BatchReport:
    """Make learning rate and total batch fit, in one of two ways, and say which.

    The recipe's learning rate belongs to ``auto_scale_lr.base_batch_size`` images a step. Either
    gradients are accumulated until that many have been seen (``accumulate``), or mmengine scales
    the rate (``auto_scale_lr.enable``); without either, nothing is changed.

    Args:
        cfg: the run's config; ``optim_wrapper`` and ``auto_scale_lr`` are changed in place.
        processes: number of processes, each of which loads ``train_dataloader.batch_size`` images.
        accumulate: keep the recipe's total batch.

    Returns:
        For the log; a warning if rate and batch do not fit.

    Raises:
        ValueError: the processes cannot form the recipe's total batch; or it is unknown; or both
            ways are asked for.
    """
    auto_scale_lr = cfg.get('auto_scale_lr') or {}
    base: Any = auto_scale_lr.get('base_batch_size')
    scale = auto_scale_lr.get('enable', False)
    _check_ways(base, accumulate, scale)
    per_process = cfg.train_dataloader.batch_size
    if accumulate:
        cfg.optim_wrapper.accumulative_counts = _accumulated_steps(base, processes, per_process)
    steps = cfg.optim_wrapper.get('accumulative_counts', 1)
    total = processes * per_process * steps
    warnings = _warnings_of_accumulation(cfg, steps)
    level = logging.WARNING if warnings else logging.INFO
    batch = f'total batch {total} = {processes} processes × {per_process} images × {steps} steps'
    said = '; '.join([batch, *warnings])
    if base is None:
        return BatchReport(f'{said}; the config names no batch for its learning rate', level)
    if scale:
        # mmengine's own ratio leaves accumulated steps out.
        cfg.auto_scale_lr.base_batch_size = base / steps
        return BatchReport(
            f'{said}; learning rate scaled by {total / base:g}, since it belongs to {base}',
            level,
        )
    if total == base:
        return BatchReport(f'{said}, as the recipe; its learning rate is unchanged', level)
    return BatchReport(
        f'{said}, but the learning rate belongs to {base}: keep that batch with --accumulate, fit '
        'the rate with --auto-scale-lr, or set auto_scale_lr.base_batch_size if you have chosen '
        'the rate for this batch',
        logging.WARNING,
    )


def _check_ways(base: int | None, accumulate: bool, scale: bool) -> None:
    if base is None and (accumulate or scale):
        raise InputError(
            '--accumulate and --auto-scale-lr need the batch that the learning rate belongs to: '
            'set auto_scale_lr = dict(base_batch_size=...) in the config'
        )
    if accumulate and scale:
        raise InputError(
            '--accumulate keeps the recipe’s total batch, --auto-scale-lr fits the learning rate '
            'to another: give one of them'
        )


def _warnings_of_accumulation(cfg: Config, steps: int) -> list[str]:
    """What counts iterations where the recipe means updates; nothing if they are the same."""
    if steps == 1:
        return []
    warnings = []
    if _averages_iterations(cfg):
        warnings.append(
            f'EMAHook averages at each of these {steps} steps, so that its momentum acts {steps} '
            "times as strongly: type='mmbeitv2.EMAHook' averages at updates"
        )
    iterations = (cfg.get('train_cfg') or {}).get('max_iters')
    if iterations is not None:
        warnings.append(
            f'its length counts iterations, and {iterations} of them are {iterations // steps} '
            f'updates: for as many updates set train_cfg.max_iters={iterations * steps}, and '
            f'val_interval, begin and end of param_scheduler {steps} times as large'
        )
    return warnings


def _averages_iterations(cfg: Config) -> bool:
    """Whether weights are averaged by another hook than this package's, which counts updates."""
    hooks: list[Mapping[str, Any] | None] = [
        *(cfg.get('default_hooks') or {}).values(),
        *(cfg.get('custom_hooks') or []),
    ]
    types = [type_name(hook['type']) for hook in hooks if hook and 'type' in hook]
    return any(t.split('.')[-1] == 'EMAHook' and t != 'mmbeitv2.EMAHook' for t in types)


def _accumulated_steps(base: int, processes: int, per_process: int) -> int:
    if base % (processes * per_process) == 0:
        return base // (processes * per_process)
    fitting = [b for b in range(1, per_process) if base % (processes * b) == 0]
    cure = (
        f'set train_dataloader.batch_size={fitting[-1]}'
        if fitting
        else 'use another number of processes'
    )
    raise InputError(
        f'the recipe’s total batch {base} cannot be formed by {processes} processes × '
        f'{per_process} images, whose product must divide it: {cure}, or fit the learning rate '
        'to the batch with --auto-scale-lr'
    )

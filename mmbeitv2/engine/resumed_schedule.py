"""The schedules of a resumed run, by its config instead of by the state that was saved.

A scheduler's saved state holds its own begin, end and base values, which silently win over those of
the config: a run that is made longer, or given another learning rate or batch, would go on with the
old ones. Here the config's schedulers are stepped up to the position reached, so that the run goes
on as one that had this config from its beginning; where nothing was changed that is the saved
state, bit for bit.
"""

import copy
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

from mmengine.optim import BaseOptimWrapper, _ParamScheduler
from mmengine.runner import Runner

from mmbeitv2.errors import InputError

# What configs set and schedulers change. Optimisers may keep further values of their own in their
# groups, which are state.
SET_BY_CONFIG = ('lr', 'weight_decay', 'betas', 'momentum', 'eps')


class Fresh(NamedTuple):
    """Values of a run that has not begun: of every group, and the states of its schedulers."""

    groups: list[dict[str, Any]]
    states: list[dict[str, Any]]


def optimizers(runner: Runner) -> Iterator[tuple[str, BaseOptimWrapper, list[_ParamScheduler]]]:
    """Name, wrapper and schedulers of each optimiser; most runs have one, without a name."""
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers
    if not hasattr(wrapper, 'items'):
        yield '', wrapper, schedulers or []
        return
    for name, part in wrapper.items():
        yield name, part, (schedulers or {}).get(name, [])


def fresh_values(runner: Runner) -> dict[str, Fresh]:
    """Copy what the config says, before a checkpoint's state is loaded over it.

    Args:
        runner: with optimiser and schedulers built.
    """
    return {
        name: Fresh(
            [_configured(group, schedulers) for group in wrapper.param_groups],
            [copy.deepcopy(scheduler.state_dict()) for scheduler in schedulers],
        )
        for name, wrapper, schedulers in optimizers(runner)
    }


def follow_config(
    runner: Runner, fresh: dict[str, Fresh], iterations: int, epoch_length: int | None
) -> list[str]:
    """Set optimiser and schedulers as the config has them after so many iterations.

    Args:
        runner: with the checkpoint's state loaded.
        fresh: of :func:`fresh_values`, from before.
        iterations: made so far.
        epoch_length: iterations of an epoch; None where schedulers that count epochs do not step.

    Returns:
        For the log: which values differ from the checkpoint's, and both.

    Raises:
        ValueError: a schedule depends on validations, which cannot be repeated, and was changed.
    """
    differences = []
    for name, wrapper, schedulers in optimizers(runner):
        loaded = [_configured(group, schedulers) for group in wrapper.param_groups]
        if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
            _refuse_other_base(loaded, fresh[name].groups)
            continue
        for group, values in zip(wrapper.param_groups, fresh[name].groups):
            group.update(copy.deepcopy(values))
        for scheduler, state in zip(schedulers, fresh[name].states):
            scheduler.load_state_dict(copy.deepcopy(state))
        _step(schedulers, iterations, epoch_length)
        now = [_configured(group, schedulers) for group in wrapper.param_groups]
        differences += _differences(name, loaded, now)
    return differences


def _configured(group: dict[str, Any], schedulers: list[_ParamScheduler]) -> dict[str, Any]:
    names = {*SET_BY_CONFIG, *(scheduler.param_name for scheduler in schedulers)}
    names |= {f'initial_{name}' for name in names}
    return {name: copy.deepcopy(group[name]) for name in names if name in group}


def _step(schedulers: list[_ParamScheduler], iterations: int, epoch_length: int | None) -> None:
    """Step schedulers as ``ParamSchedulerHook`` does; most are recursive, so none can jump."""
    by_iteration = [scheduler for scheduler in schedulers if not scheduler.by_epoch]
    by_epoch = [scheduler for scheduler in schedulers if scheduler.by_epoch]
    verbose = [scheduler.verbose for scheduler in schedulers]
    for scheduler in schedulers:
        scheduler.verbose = False
    with warnings.catch_warnings():
        # That schedulers step without the optimiser is meant.
        warnings.simplefilter('ignore', UserWarning)
        for iteration in range(1, iterations + 1):
            for scheduler in by_iteration:
                scheduler.step()
            if epoch_length and iteration % epoch_length == 0:
                for scheduler in by_epoch:
                    scheduler.step()
    for scheduler, value in zip(schedulers, verbose):
        scheduler.verbose = value


def _refuse_other_base(loaded: list[dict[str, Any]], fresh: list[dict[str, Any]]) -> None:
    for old, new in zip(loaded, fresh):
        before, after = (values.get('initial_lr', values.get('lr')) for values in (old, new))
        if before != after:
            raise InputError(
                f'the learning rate starts at {after:g} in the config and at {before:g} in the '
                'checkpoint, but a schedule that follows validations cannot be repeated with '
                'another: resume with the same, or start from the weights alone (load_from)'
            )


def _differences(name: str, loaded: list[dict[str, Any]], now: list[dict[str, Any]]) -> list[str]:
    said = []
    for old, new in zip(loaded, now):
        for key in sorted(new):
            if key in old and not _equal(old[key], new[key]):
                label = f'{name}.{key}' if name else key
                said.append(f'{label} {_text(old[key])} → {_text(new[key])}')
    return list(dict.fromkeys(said))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    # Rounding of another machine or release is no change of the config.
    return a == b or abs(a - b) <= 1e-9 * max(abs(a), abs(b))


def _text(value: Any) -> str:
    return str(tuple(value)) if isinstance(value, list | tuple) else f'{value:g}'

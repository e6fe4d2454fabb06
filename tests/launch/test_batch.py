"""Learning rate and total batch fit, on any number of processes."""

import logging

import pytest
from mmengine.config import Config
from mmengine.hooks import EMAHook as MMEngineEMAHook
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmbeitv2.engine import EMAHook
from mmbeitv2.launch.batch import num_processes, settle_total_batch


def recipe(batch_size, base=2048, **options):
    return Config(
        dict(
            train_dataloader=dict(batch_size=batch_size),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0), **options),
            auto_scale_lr=dict(base_batch_size=base),
        )
    )


def test_the_recipes_batch_needs_nothing():
    cfg = recipe(256)
    report = settle_total_batch(cfg, 8, accumulate=False)
    assert report.message.startswith('total batch 2048 = 8 processes × 256 images × 1 steps, as')
    assert report.level == logging.INFO
    assert 'accumulative_counts' not in cfg.optim_wrapper


@pytest.mark.parametrize(
    ('hook', 'level'), [('EMAHook', logging.WARNING), ('mmbeitv2.EMAHook', logging.INFO)]
)
def test_an_average_of_iterations_is_reported_where_gradients_are_accumulated(hook, level):
    cfg = recipe(256)
    cfg.custom_hooks = [dict(type=hook, momentum=1e-4)]
    assert settle_total_batch(cfg, 8, accumulate=False).level == logging.INFO
    report = settle_total_batch(cfg, 1, accumulate=True)
    assert report.level == level
    assert ("type='mmbeitv2.EMAHook'" in report.message) == (level == logging.WARNING)


def test_an_average_is_told_by_its_class_too():
    for hook, level in ((MMEngineEMAHook, logging.WARNING), (EMAHook, logging.INFO)):
        cfg = recipe(256)
        cfg.custom_hooks = [dict(type=hook, momentum=1e-4)]
        assert settle_total_batch(cfg, 1, accumulate=True).level == level


def test_fewer_updates_in_as_many_iterations_are_a_warning():
    cfg = recipe(2, base=16)
    cfg.train_cfg = dict(type='IterBasedTrainLoop', max_iters=160_000)
    assert settle_total_batch(cfg, 8, accumulate=True).level == logging.INFO
    report = settle_total_batch(cfg, 2, accumulate=True)
    assert report.level == logging.WARNING
    assert '160000 of them are 40000 updates' in report.message
    assert 'set train_cfg.max_iters=640000' in report.message


@pytest.mark.parametrize(
    ('processes', 'batch_size', 'steps'), [(1, 64, 32), (4, 256, 2), (8, 256, 1)]
)
def test_gradients_are_accumulated_up_to_the_recipes_batch(processes, batch_size, steps):
    cfg = recipe(batch_size)
    report = settle_total_batch(cfg, processes, accumulate=True)
    wrapper = build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper)
    assert wrapper._accumulative_counts == steps
    assert f'× {steps} steps, as the recipe' in report.message


def test_scaling_counts_accumulated_steps():
    """The ratio that mmengine takes is processes × images to the base."""
    cfg = recipe(64, accumulative_counts=4)
    cfg.auto_scale_lr.enable = True
    report = settle_total_batch(cfg, 2, accumulate=False)
    assert 2 * 64 / cfg.auto_scale_lr.base_batch_size == 512 / 2048
    assert 'learning rate scaled by 0.25, since it belongs to 2048' in report.message


def test_a_batch_that_does_not_fit_the_rate_is_a_warning():
    report = settle_total_batch(recipe(64), 1, accumulate=False)
    assert report.level == logging.WARNING
    assert 'total batch 64 = 1' in report.message
    assert 'belongs to 2048: keep that batch with --accumulate' in report.message


@pytest.mark.parametrize(
    ('processes', 'batch_size', 'cure'),
    [(4, 200, 'batch_size=128'), (3, 256, 'use another number of processes'), (16, 256, '=128')],
)
def test_a_batch_that_the_processes_cannot_form_is_an_error(processes, batch_size, cure):
    with pytest.raises(ValueError, match=rf'2048 cannot be formed by {processes}.*{cure}'):
        settle_total_batch(recipe(batch_size), processes, accumulate=True)


def test_mmengines_none_is_no_batch():
    cfg = recipe(64)
    cfg.auto_scale_lr = None
    report = settle_total_batch(cfg, 1, accumulate=False)
    assert report.message.endswith('the config names no batch for its learning rate')


def test_both_ways_at_once_are_refused():
    cfg = recipe(256)
    cfg.auto_scale_lr.enable = True
    with pytest.raises(ValueError, match='give one of them'):
        settle_total_batch(cfg, 4, accumulate=True)


def test_accumulation_needs_the_recipes_batch():
    cfg = recipe(256)
    cfg.pop('auto_scale_lr')
    with pytest.raises(ValueError, match=r'set auto_scale_lr = dict\(base_batch_size=...\)'):
        settle_total_batch(cfg, 4, accumulate=True)


@pytest.mark.parametrize(
    ('launcher', 'variable'),
    [('pytorch', 'WORLD_SIZE'), ('slurm', 'SLURM_NTASKS'), ('mpi', 'OMPI_COMM_WORLD_SIZE')],
)
def test_the_launcher_tells_the_number_of_processes(monkeypatch, launcher, variable):
    monkeypatch.setenv(variable, '16')
    assert num_processes(launcher) == 16
    assert num_processes('none') == 1

"""The command line's precision reaches what trains and evaluates, however the config names it."""

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import AmpOptimWrapper, OptimWrapper
from mmengine.runner import TestLoop as MMEngineTestLoop
from mmengine.runner import ValLoop as MMEngineValLoop

from mmbeitv2.engine import MixedPrecisionOptimWrapper, TestLoop
from mmbeitv2.engine.loops import evaluation_precision
from mmbeitv2.launch.precision import (
    amp_precision,
    check_precision,
    set_evaluation_precision,
    set_training_precision,
)


@pytest.mark.parametrize('wrapper', [OptimWrapper, AmpOptimWrapper, MixedPrecisionOptimWrapper])
def test_classes_are_replaced_as_their_names_are(wrapper):
    """mmengine's configs in pure Python name types by classes."""
    cfg = Config(
        dict(
            optim_wrapper=dict(type=wrapper),
            val_cfg=dict(type=MMEngineValLoop, fp16=True),
            test_cfg=dict(type=MMEngineTestLoop),
        )
    )
    set_training_precision(cfg, 'bfloat16')
    assert cfg.optim_wrapper == dict(
        type='mmbeitv2.MixedPrecisionOptimWrapper', precision='bfloat16'
    )
    assert cfg.val_cfg == dict(type='mmbeitv2.ValLoop', precision='bfloat16')
    assert cfg.test_cfg == dict(type='mmbeitv2.TestLoop', precision='bfloat16')


def test_evaluation_follows_a_wrapper_named_by_its_class():
    class Run:
        cfg = Config(
            dict(optim_wrapper=dict(type=MixedPrecisionOptimWrapper, precision='bfloat16'))
        )

    assert evaluation_precision(Run, None).dtype == torch.bfloat16


def test_a_loop_that_would_not_obey_is_refused():
    cfg = Config(dict(val_cfg=dict(type='mmpretrain.RetrieveLoop'), test_cfg=None))
    with pytest.raises(ValueError, match=r'val_cfg\.type=mmpretrain\.RetrieveLoop'):
        set_evaluation_precision(cfg, 'bfloat16')


@pytest.mark.parametrize('key', ['dtype', 'precision'])
@pytest.mark.parametrize('named', ['float16', 'bfloat16'])
def test_amp_is_the_mixed_precision_that_the_config_names(key, named):
    assert amp_precision(Config(dict(optim_wrapper={key: named}))) == named


@pytest.mark.parametrize('loop', ['mmbeitv2.TestLoop', TestLoop])
def test_what_a_test_would_take_from_training_is_checked_before_it(loop):
    cfg = Config(
        dict(
            optim_wrapper=dict(type='mmbeitv2.MixedPrecisionOptimWrapper', precision='half'),
            test_cfg=dict(type=loop),
        )
    )
    with pytest.raises(ValueError, match=r"optim_wrapper\.precision is 'half', allowed: auto"):
        check_precision(cfg, ['test'])
    cfg.test_cfg.precision = 'float32'
    check_precision(cfg, ['test'])


def test_mmengines_loop_takes_nothing_from_training():
    cfg = Config(dict(optim_wrapper=dict(precision='half'), test_cfg=dict(type='TestLoop')))
    check_precision(cfg, ['test'])

"""Validation and testing run in the precision of training, whoever starts them."""

import pytest
import torch
from mmengine.evaluator import BaseMetric
from mmengine.model import BaseModel
from mmengine.registry import METRICS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader


class Products(BaseModel):
    """Gives back the precision of its matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 2)

    def forward(self, inputs, mode='tensor'):
        product = self.linear(inputs)
        if mode == 'loss':
            return dict(loss=product.float().sum())
        return [product.dtype]


@METRICS.register_module(force=True)
class SeenPrecision(BaseMetric):
    def process(self, data_batch, data_samples):
        self.results += data_samples

    def compute_metrics(self, results):
        (dtype,) = set(results)
        return dict(precision=str(dtype))


DATA = dict(
    batch_size=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=[dict(inputs=torch.randn(2)) for _ in range(4)],
)


@pytest.fixture
def evaluated(tmp_path):
    """Precision in which a runner of a config validates or tests."""

    def run(phase, loop, optim_wrapper=None):
        loader = DataLoader(DATA['dataset'], batch_size=2)
        parts = {
            f'{phase}_dataloader': loader,
            f'{phase}_cfg': loop,
            f'{phase}_evaluator': dict(type='SeenPrecision'),
        }
        cfg = {}
        if optim_wrapper is not None:
            training = dict(by_epoch=True, max_epochs=1)
            parts.update(train_dataloader=loader, train_cfg=training, optim_wrapper=optim_wrapper)
            cfg = dict(optim_wrapper=optim_wrapper)
        runner = Runner(
            Products(), str(tmp_path), cfg=cfg, experiment_name=f'{tmp_path.name}{phase}', **parts
        )
        return getattr(runner, phase)()['precision']

    return run


LOOPS = [('val', 'mmbeitv2.ValLoop'), ('test', 'mmbeitv2.TestLoop')]
OURS = 'mmbeitv2.MixedPrecisionOptimWrapper'
SGD = dict(type='SGD', lr=0.1)


@pytest.mark.parametrize(('phase', 'loop'), LOOPS)
@pytest.mark.parametrize('precision', ['bfloat16', 'float32'])
def test_evaluation_follows_training(evaluated, phase, loop, precision):
    wrapper = dict(type=OURS, precision=precision, optimizer=SGD)
    assert evaluated(phase, dict(type=loop), wrapper) == f'torch.{precision}'


@pytest.mark.parametrize(('phase', 'loop'), LOOPS)
@pytest.mark.parametrize('precision', ['bfloat16', 'float32'])
def test_own_precision_of_a_loop_comes_first(evaluated, phase, loop, precision):
    other = 'float32' if precision == 'bfloat16' else 'bfloat16'
    wrapper = dict(type=OURS, precision=other, optimizer=SGD)
    assert evaluated(phase, dict(type=loop, precision=precision), wrapper) == f'torch.{precision}'


@pytest.mark.parametrize(('phase', 'loop'), LOOPS)
def test_other_wrappers_are_evaluated_in_float32_as_mmengine_does(evaluated, phase, loop):
    assert evaluated(phase, dict(type=loop), dict(optimizer=SGD)) == 'torch.float32'


@pytest.mark.parametrize(('phase', 'loop'), LOOPS)
@pytest.mark.parametrize(
    ('instructions', 'expected'), [(['amx_bf16'], 'torch.bfloat16'), ([], 'torch.float32')]
)
def test_without_training_it_is_what_the_device_multiplies(
    evaluated, monkeypatch, phase, loop, instructions, expected
):
    features = dict.fromkeys(instructions, True)
    monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: features, raising=False)
    assert evaluated(phase, dict(type=loop)) == expected


def test_precision_that_the_device_lacks_is_refused(evaluated):
    with pytest.raises(ValueError, match='precision is float16, which needs a GPU'):
        evaluated('test', dict(type='mmbeitv2.TestLoop', precision='float16'))

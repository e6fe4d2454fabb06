"""How attention learns its bias is tried on the card of the run, and said."""

import logging
from types import SimpleNamespace

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch._subclasses.fake_tensor import FakeTensorMode

from mmbeitv2.engine import AttentionTrialHook, attention_hook
from mmbeitv2.engine.attention_hook import learned_bias_sizes
from mmbeitv2.engine.precision import Precision
from mmbeitv2.models import BEiTViT, bias_gradient
from mmbeitv2.models.bias_gradient_trial import Trial

ARCH = dict(embed_dim=128, depth=2, num_heads=2)
SIZES = (8, 2, 5, 64)
BFLOAT16 = Precision(torch.bfloat16, 'cuda', 'for the test')


def runner_of(model, precision=BFLOAT16):
    wrapper = build_optim_wrapper(
        torch.nn.Linear(1, 1),
        dict(type='mmbeitv2.MixedPrecisionOptimWrapper', optimizer=dict(type='SGD', lr=0.1)),
    )
    wrapper.precision = precision
    return SimpleNamespace(
        model=model,
        optim_wrapper=wrapper,
        train_dataloader=SimpleNamespace(batch_size=8),
        logger=logging.getLogger('runner'),
    )


own_operators = pytest.mark.needs_torch('2.4', 'operators of our own')


@pytest.fixture(autouse=True)
def nothing_chosen():
    yield
    bias_gradient.choose_kernels(False)


@pytest.fixture
def tried(monkeypatch, caplog):
    """Runs the hook where the trial finds what is given; gives the choice and the log."""

    def run(find):
        monkeypatch.setattr(attention_hook, 'learned_bias_sizes', lambda runner: SIZES)
        monkeypatch.setattr(attention_hook, 'find_spec', lambda name: name)
        monkeypatch.setattr(attention_hook, 'try_kernels', find)
        caplog.set_level(logging.INFO)
        AttentionTrialHook().before_train(runner_of(torch.nn.Linear(1, 1)))
        (record,) = [r for r in caplog.records if r.name == 'runner']
        return bias_gradient._kernels_are_chosen(), record

    return run


@own_operators
def test_faster_and_right_kernels_are_taken(tried):
    chosen, record = tried(lambda *args: Trial((3.1, 3.8), (2e-3, 3e-3)))
    assert chosen
    assert record.levelno == logging.INFO
    assert 'the kernel of our own' in record.message
    assert '3.10 ms and 3.80 ms' in record.message


@own_operators
@pytest.mark.parametrize(
    ('milliseconds', 'errors', 'level'),
    [
        ((3.8, 3.1), (2e-3, 3e-3), logging.INFO),
        ((3.1, 3.8), (0.5, 3e-3), logging.WARNING),
        ((3.1, 3.8), (float('nan'), 3e-3), logging.WARNING),
    ],
    ids=['slower', 'wrong', 'no number'],
)
def test_slower_or_wrong_kernels_are_not(tried, milliseconds, errors, level):
    chosen, record = tried(lambda *args: Trial(milliseconds, errors))
    assert not chosen
    assert record.levelno == level
    assert "torch's own gradient" in record.message


@own_operators
def test_kernels_that_do_not_compile_are_not_and_the_run_goes_on(tried):
    def fail(*args):
        raise RuntimeError('Failed to find C compiler\nand a long story')

    chosen, record = tried(fail)
    assert not chosen
    assert record.levelno == logging.WARNING
    assert 'RuntimeError: Failed to find C compiler' in record.message
    assert 'long story' not in record.message


@own_operators
def test_trial_has_the_runs_own_sizes_and_precision(tried):
    seen = []
    tried(lambda *args: seen.append(args) or Trial((1, 2), (1e-3, 1e-3)))
    assert seen == [(*SIZES, torch.bfloat16, torch.device('cpu'))]


@pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')
class TestSizes:
    """Read off a model on a GPU of which nothing is there but the name."""

    @pytest.fixture
    def model(self):
        def build(**options):
            with FakeTensorMode(), torch.device('cuda'):
                return BEiTViT(**{'arch': ARCH, 'img_size': 32} | options)

        return build

    @pytest.mark.parametrize('option', ['use_shared_rel_pos_bias', 'use_rel_pos_bias'])
    def test_of_either_kind_of_learned_bias(self, model, option):
        assert learned_bias_sizes(runner_of(model(**{option: True}))) == SIZES

    def test_none_without_a_bias_that_learns(self, model):
        assert learned_bias_sizes(runner_of(model())) is None
        frozen = model(use_rel_pos_bias=True).requires_grad_(False)
        assert learned_bias_sizes(runner_of(frozen)) is None

    def test_none_of_other_widths_and_precisions(self, model):
        odd = dict(embed_dim=48, depth=2, num_heads=2)
        assert learned_bias_sizes(runner_of(model(arch=odd, use_rel_pos_bias=True))) is None
        exact = Precision(torch.float32, 'cuda', 'for the test')
        assert learned_bias_sizes(runner_of(model(use_rel_pos_bias=True), exact)) is None


def test_none_on_a_cpu():
    model = BEiTViT(arch=ARCH, img_size=32, use_rel_pos_bias=True)
    assert learned_bias_sizes(runner_of(model)) is None

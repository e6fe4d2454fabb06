"""Training in mixed precision: what is cast, what is not, and how losses are scaled."""

import re

import pytest
import torch
from half_on_cpu import half_on_cpu
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmbeitv2.engine import optim_wrapper
from mmbeitv2.engine.precision import Precision


@pytest.fixture
def build():
    def build(model, **options):
        config = dict(type='mmbeitv2.MixedPrecisionOptimWrapper', **options)
        config.setdefault('optimizer', dict(type='AdamW', lr=1e-3))
        return build_optim_wrapper(model, config)

    return build


@pytest.fixture
def float16(monkeypatch):
    """float16 with scaled losses: torch has it on CPUs too, where it is slow and so refused."""
    precision = Precision(torch.float16, 'cpu', 'for the test')
    monkeypatch.setattr(optim_wrapper, 'choose_precision', lambda name: precision)


@pytest.fixture
def linear():
    return nn.Linear(4, 2)


def batch(samples):
    pixels = [torch.randint(256, (3, 64, 64), dtype=torch.uint8) for _ in samples]
    return dict(inputs=pixels, data_samples=samples)


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


@pytest.mark.parametrize('name', ['bfloat16', 'float32'])
def test_layers_compute_in_the_precision_and_weights_stay_float32(
    beitv2, build, masked_samples, name
):
    dtypes = {}
    layer = beitv2.backbone.blocks[0].attn.proj
    layer.register_forward_hook(lambda module, args, output: dtypes.update(output=output.dtype))
    beitv2.train_step(batch(masked_samples), build(beitv2, precision=name))
    assert dtypes['output'] == getattr(torch, name)
    assert {p.dtype for p in beitv2.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in beitv2.parameters() if p.grad is not None} <= {torch.float32}


def test_earlier_name_is_bfloat16(beitv2, masked_samples):
    config = dict(type='mmbeitv2.BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
    wrapper = build_optim_wrapper(beitv2, config)
    assert wrapper.precision.dtype == torch.bfloat16


def test_loss_is_that_of_float32_to_rounding(beitv2, build, masked_samples):
    data = beitv2.data_preprocessor(batch(masked_samples), True)
    exact = beitv2(**data, mode='loss')
    with build(beitv2, precision='bfloat16').optim_context(beitv2):
        rounded = beitv2(**data, mode='loss')
    for name in ('loss_mim', 'loss_cls'):
        assert rounded[name].dtype == torch.float32
        torch.testing.assert_close(rounded[name], exact[name], rtol=2e-3, atol=0)


def test_choice_is_logged_with_its_reason(linear, build, monkeypatch):
    logged = []
    monkeypatch.setattr(optim_wrapper, 'print_log', lambda message, logger: logged.append(message))
    build(linear, precision='float32')
    assert logged == ['training precision: float32 (as set)']


@half_on_cpu
@pytest.mark.usefixtures('float16')
class TestFloat16:
    """Scaled losses."""

    LARGE = dict(init_scale=2.0**10, growth_interval=1)

    def update(self, wrapper, model, x):
        with wrapper.optim_context(model):
            loss = model(x).float().square().mean()
        wrapper.update_params(loss)

    def test_step_is_that_of_float32_to_rounding(self, linear, build):
        x = torch.randn(8, 4)
        plain = nn.Linear(4, 2)
        plain.load_state_dict(linear.state_dict())
        sgd, clip = dict(type='SGD', lr=1.0), dict(max_norm=0.1)
        wrapper = build(linear, optimizer=sgd, clip_grad=clip, loss_scale=self.LARGE)
        self.update(wrapper, linear, x)
        plain(x).square().mean().backward()
        # A norm of the scaled gradients would clip a thousand times too much.
        norm = nn.utils.clip_grad_norm_(plain.parameters(), **clip)
        torch.optim.SGD(plain.parameters(), lr=1.0).step()
        for found, expected in zip(linear.parameters(), plain.parameters()):
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
        logged = wrapper.message_hub.get_scalar('train/grad_norm').current()
        assert logged == pytest.approx(norm.item(), rel=1e-2)

    @pytest.mark.parametrize('clip', [None, dict(max_norm=3.0)])
    def test_overflow_leaves_the_step_out_and_lowers_the_scale(self, linear, build, clip):
        wrapper = build(linear, clip_grad=clip, loss_scale=self.LARGE)
        before, scale = weights(linear), wrapper.loss_scaler.get_scale()
        self.update(wrapper, linear, torch.full((8, 4), float('inf')))
        assert all(torch.equal(a, b) for a, b in zip(before, linear.parameters()))
        assert not wrapper.optimizer.state
        assert wrapper.loss_scaler.get_scale() == scale / 2
        self.update(wrapper, linear, torch.randn(8, 4))
        assert not torch.equal(before[0], linear.weight)

    def test_accumulated_gradients_are_unscaled_once(self, linear, build):
        x = torch.randn(8, 4)
        one, two = nn.Linear(4, 2), linear
        one.load_state_dict(two.state_dict())
        sgd = dict(type='SGD', lr=0.1)
        options = dict(optimizer=sgd, clip_grad=dict(max_norm=3.0), loss_scale=self.LARGE)
        self.update(build(one, **options), one, x)
        wrapper = build(two, **options, accumulative_counts=2)
        start = weights(two)
        self.update(wrapper, two, x[:4])
        assert all(torch.equal(a, b) for a, b in zip(start, two.parameters()))
        self.update(wrapper, two, x[4:])
        for found, expected in zip(two.parameters(), one.parameters()):
            torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)

    def test_overflow_in_a_part_leaves_the_whole_accumulated_step_out(self, linear, build):
        clip = dict(max_norm=1.0)
        wrapper = build(linear, clip_grad=clip, loss_scale=self.LARGE, accumulative_counts=2)
        x, before = torch.randn(8, 4), weights(linear)
        self.update(wrapper, linear, torch.full((4, 4), float('inf')))
        self.update(wrapper, linear, x[:4])
        assert all(torch.equal(a, b) for a, b in zip(before, linear.parameters()))
        assert not wrapper.optimizer.state
        assert wrapper.loss_scaler.get_scale() == 2.0**9
        self.update(wrapper, linear, x[:4])
        self.update(wrapper, linear, x[4:])
        assert all(parameter.isfinite().all() for parameter in linear.parameters())
        assert not torch.equal(before[0], linear.weight)

    def test_scale_is_resumed(self, linear, build):
        wrapper = build(linear, loss_scale=self.LARGE)
        self.update(wrapper, linear, torch.randn(8, 4))
        resumed = build(nn.Linear(4, 2))
        resumed.load_state_dict(wrapper.state_dict())
        assert resumed.loss_scaler.get_scale() == wrapper.loss_scaler.get_scale() == 2.0**11

    def test_fixed_scale_stays(self, linear, build):
        wrapper = build(linear, loss_scale=128.0)
        for _ in range(3):
            self.update(wrapper, linear, torch.randn(8, 4))
        assert wrapper.loss_scaler.get_scale() == 128.0

    @pytest.mark.parametrize('scale', ['static', 0, -1.0, True, float('inf'), {'initial': 2}])
    def test_wrong_scale_is_refused(self, linear, build, scale):
        with pytest.raises(
            ValueError, match=f"loss_scale is {re.escape(repr(scale))}, allowed: 'dynamic'"
        ):
            build(linear, loss_scale=scale)


@pytest.mark.parametrize(('first', 'second'), [('bfloat16', 'float32'), ('float32', 'bfloat16')])
def test_run_resumes_in_another_precision(linear, build, first, second):
    wrapper = build(linear, precision=first)
    wrapper.update_params(linear(torch.randn(8, 4)).square().mean())
    state = wrapper.state_dict()
    assert 'loss_scaler' not in state
    resumed = build(linear, precision=second)
    resumed.load_state_dict(state)
    assert resumed.optimizer.state


def test_state_of_a_scaled_run_loads_without_a_scale(linear, build):
    wrapper = build(linear)
    wrapper.update_params(linear(torch.randn(8, 4)).square().mean())
    resumed = build(linear, precision='float32')
    resumed.load_state_dict({**wrapper.state_dict(), 'loss_scaler': dict(scale=1024.0)})
    assert resumed.optimizer.state

"""The loss of masked tokens (Eq. 3) by chunks: the plain numbers, and never all the logits."""

import pytest
import torch
import torch.nn.functional as F
from half_on_cpu import FLOAT16, half_on_cpu
from torch import nn
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from mmbeitv2.models import BEiTV2, MIMHead
from mmbeitv2.models import linear_cross_entropy as module
from mmbeitv2.models.linear_cross_entropy import linear_cross_entropy

WIDTH, CODES, TOKENS = 16, 40, 50


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Three chunks of 16 tokens and one of 2."""
    monkeypatch.setattr(module, 'ROWS_CPU', 16)


def plain(tokens, weight, bias, codes):
    logits = F.linear(tokens, weight, bias).flatten(0, -2)
    logits, codes = logits.to(torch.promote_types(logits.dtype, torch.float32)), codes.flatten()
    return F.cross_entropy(logits, codes), (logits.argmax(-1) == codes).float().mean()


def inputs(dtype=torch.float32, tokens=TOKENS, codes=CODES):
    parts = [torch.randn(2, tokens // 2, WIDTH), torch.randn(codes, WIDTH) / 4, torch.randn(codes)]
    # Codes that are often right, so that the accuracy says something.
    target = (F.linear(*parts) + torch.randn(codes)).argmax(-1)
    return [part.to(dtype).requires_grad_() for part in parts], target


def results(function, parts, codes, precision=None, scale=1.0):
    """Loss, accuracy, and the gradients of tokens, weight and bias."""
    with torch.autocast('cpu', precision or torch.bfloat16, enabled=precision is not None):
        loss, accuracy = function(*parts, codes)
    grads = torch.autograd.grad(loss * scale, parts)
    return loss.detach(), accuracy, *(grad / scale for grad in grads)


class TestNumbers:
    def test_loss_accuracy_and_gradients_are_the_plain_ones(self):
        parts, codes = inputs()
        found, expected = results(linear_cross_entropy, parts, codes), results(plain, parts, codes)
        assert 0.1 < expected[1] < 0.9
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b, atol=1e-7, rtol=1e-5)

    def test_gradients_are_those_of_finite_differences(self):
        parts, codes = inputs(torch.float64, tokens=6, codes=5)
        assert torch.autograd.gradcheck(lambda *p: linear_cross_entropy(*p, codes)[0], parts)

    def test_autocast_leaves_float64_alone(self):
        parts, codes = inputs(torch.float64)
        found, expected = (
            results(function, parts, codes, torch.bfloat16)
            for function in (linear_cross_entropy, plain)
        )
        for a, b in zip(found, expected, strict=True):
            assert_close(a, b)

    def test_without_tokens_the_loss_is_no_number_but_the_weights_have_no_gradient(self):
        parts = [torch.randn(*shape, requires_grad=True) for shape in ((0, 4), (5, 4), (5,))]
        codes = torch.zeros(0, dtype=torch.int64)
        for function in (linear_cross_entropy, plain):
            loss, _, *grads = results(function, parts, codes)
            assert loss.isnan()
            assert [grad.abs().sum() for grad in grads] == [0, 0, 0]

    @pytest.mark.parametrize('precision', [torch.bfloat16, FLOAT16])
    def test_autocast_rounds_no_more_than_in_the_plain_computation(self, precision):
        parts, codes = inputs(tokens=1000, codes=200)
        exact = results(plain, [p.detach().double().requires_grad_() for p in parts], codes)
        # The plain computation needs a loss scale in float16.
        expected = results(plain, parts, codes, precision, scale=1024.0)
        found = results(linear_cross_entropy, parts, codes, precision, scale=1024.0)
        assert_close(found[:2], expected[:2])
        for a, b, truth in zip(found[2:], expected[2:], exact[2:], strict=True):
            assert a.dtype == b.dtype
            assert (a - truth).norm() < 1.02 * (b - truth).norm()

    @half_on_cpu
    @pytest.mark.parametrize('scale', [2.0**-10, 1.0, 2.0**16, 2.0**40])
    def test_float16_needs_no_loss_scale_and_bears_any(self, scale):
        """Tokens many enough that p / N is below what float16 holds."""
        parts, codes = inputs(tokens=6000, codes=3000)
        exact = results(plain, parts, codes)
        found = results(linear_cross_entropy, parts, codes, torch.float16, scale)
        for a, b in zip(found[2:], exact[2:], strict=True):
            assert (a - b).norm() / b.norm() < 1e-3
        lost = results(plain, parts, codes, torch.float16, 2.0**-10)
        assert (lost[3] - exact[3]).norm() / exact[3].norm() > 0.1

    @pytest.mark.parametrize(('precision', 'margin'), [(None, 13.0), (torch.bfloat16, 7.0)])
    def test_certain_and_hopeless_predictions_keep_their_digits(self, precision, margin):
        """1 − p of a p that is rounded to 1 in bfloat16, and a p whose logarithm is −200."""
        weight = torch.tensor([[1.0], [0.0]], requires_grad=True)
        tokens = torch.tensor([[margin], [200.0]], requires_grad=True)
        bias, codes = torch.zeros(2, requires_grad=True), torch.tensor([0, 1])
        parts = [tokens, weight, bias]
        found = results(linear_cross_entropy, parts, codes, precision)
        exact = [part.detach().double().requires_grad_() for part in parts]
        expected = results(plain, exact, codes)
        assert_close(found[0].double(), expected[0], rtol=1e-6, atol=0)
        assert expected[2][0] < 0
        rounding = 1e-7 if precision is None else 2e-3 * -expected[2][0].item()
        assert_close(found[2][0].double(), expected[2][0], rtol=0, atol=rounding)

    def test_a_loss_that_is_no_number_stays_none(self):
        parts, codes = inputs()
        parts[0].data[1, 3, 2] = float('nan')
        assert linear_cross_entropy(*parts, codes)[0].isnan()

    def test_a_factor_of_the_loss_and_a_second_backward_pass(self):
        """Accumulated gradients, a loss weight, a retained graph."""
        parts, codes = inputs()
        expected = results(plain, parts, codes)[3]
        loss = linear_cross_entropy(*parts, codes)[0] / 4
        loss.backward(retain_graph=True)
        loss.backward()
        assert_close(parts[1].grad, expected / 2)


class LargestTensor(TorchDispatchMode):
    """Number of elements of the largest tensor that an operator gives."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return result


class TestMemory:
    @pytest.mark.parametrize(('function', 'rows'), [(linear_cross_entropy, 16), (plain, TOKENS)])
    def test_no_more_logits_than_a_chunk(self, function, rows):
        parts, codes = inputs(codes=400)
        with LargestTensor() as largest:
            function(*parts, codes)[0].backward()
        assert largest.numel == max(rows * 400, 400 * WIDTH)

    def test_gradients_alone_are_kept(self):
        parts, codes = inputs()
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            linear_cross_entropy(*parts, codes)
        shapes = [tuple(t.shape) for t in kept]
        assert shapes == [(TOKENS, WIDTH), (CODES, WIDTH), (CODES,)]

    def test_steps_can_be_counted_on_the_meta_device(self):
        parts, codes = inputs()
        parts = [part.detach().to('meta').requires_grad_() for part in parts]
        linear_cross_entropy(*parts, codes.to('meta'))[0].backward()
        assert parts[1].grad.shape == (CODES, WIDTH)

    def test_nothing_is_computed_for_what_is_frozen(self):
        parts, codes = inputs()
        parts[1].requires_grad_(False)
        linear_cross_entropy(*parts, codes)[0].backward()
        assert parts[1].grad is None
        assert parts[0].grad is not None
        with torch.no_grad():
            assert not linear_cross_entropy(*parts, codes)[0].requires_grad


class Adapter(nn.Linear):
    """A layer that somebody has put in the place of ours; its output is not its weight's alone."""

    def forward(self, x):
        return 2 * super().forward(x)


class ScaledHead(MIMHead):
    def loss(self, logits, codes):
        return super().loss(logits / 3, codes)


class TestHead:
    @pytest.fixture
    def batch(self):
        return torch.randn(2, 25, WIDTH, requires_grad=True), torch.randint(CODES, (2, 25))

    @pytest.fixture
    def largest(self, batch):
        """Elements of the largest tensor in the loss of a head, which must be the plain one."""

        def run(head):
            with LargestTensor() as mode:
                found = head.loss_of_tokens(*batch)
            assert_close(found, head.loss(head(batch[0]), batch[1]))
            return mode.numel

        return run

    def test_logits_do_not_exist_whole(self, largest):
        assert largest(MIMHead(WIDTH, CODES)) < TOKENS * CODES

    def test_a_layer_of_another_class_is_called(self, largest):
        head = MIMHead(WIDTH, CODES)
        head.lm_head = Adapter(WIDTH, CODES)
        assert largest(head) == TOKENS * CODES

    @pytest.mark.parametrize('which', ['lm_head', 'the head'])
    def test_hooks_see_the_logits(self, largest, which):
        head = MIMHead(WIDTH, CODES)
        seen = []
        watched = head.lm_head if which == 'lm_head' else head
        watched.register_forward_hook(lambda module, args, output: seen.append(output.shape))
        assert largest(head) == TOKENS * CODES
        assert seen[0] == (2, 25, CODES)

    def test_a_loss_of_ones_own_is_used(self, largest):
        assert largest(ScaledHead(WIDTH, CODES)) == TOKENS * CODES

    @pytest.mark.needs_torch('2.4', 'heads compiled as one graph')
    def test_compiled_whole(self, batch):
        head = MIMHead(WIDTH, CODES)
        compiled = torch.compile(head.loss_of_tokens, backend='eager', fullgraph=True)
        assert_close(compiled(*batch), head.loss_of_tokens(*batch))


@pytest.mark.parametrize('neck', [True, False])
@pytest.mark.parametrize('shared', [True, False])
def test_pretraining_trains_on_the_plain_loss(beitv2_config, images, masked_samples, shared, neck):
    beitv2_config['head']['shared'] = shared
    if not neck:
        beitv2_config.update(neck=None)
    model = BEiTV2(**beitv2_config)
    model.init_weights()
    losses = model([images, images], masked_samples, mode='loss')
    trained = [p for p in model.parameters() if p.requires_grad]

    def gradients(losses):
        total = sum(value for name, value in losses.items() if 'loss' in name)
        return torch.autograd.grad(total, trained, allow_unused=True)

    found = gradients(losses)
    model.head.register_forward_hook(lambda *_: None)
    expected = model([images, images], masked_samples, mode='loss')
    assert_close(losses, expected)
    assert_close(found, gradients(expected), atol=1e-7, rtol=1e-4)

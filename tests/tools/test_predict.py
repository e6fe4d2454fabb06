"""The model of a card: what an operator of a step costs, and which operators a GPU would run."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'tools' / 'benchmark'

# Earlier releases ask the driver for some operators.
absent_gpu = pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')
by_operator = pytest.mark.needs_torch('2.4', 'costs by operator')


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    """The benchmarks import their neighbours, as when they are run."""
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture
def kernels():
    """Operators of a function that move or compute something."""

    def run(function):
        from record import Recorder

        with Recorder('cpu') as recorder:
            function()
        return [operator for operator in recorder.operators if operator.is_kernel]

    return run


@pytest.fixture
def on_gpu():
    """Operators of a function of random tensors, on a GPU of which only the name is there."""

    def run(function, *shapes, dtype=torch.bfloat16, cudnn=False):
        from absent_gpu import FakeGPU
        from cuda_autocast import cuda_autocast
        from record import Recorder

        recorder = Recorder('cuda')
        gpu = FakeGPU(picked=3, on_backward=recorder.on_backward, cudnn=cudnn)
        inputs = gpu.build(lambda: [torch.randn(shape, requires_grad=True) for shape in shapes])
        with gpu, recorder:
            with cuda_autocast(dtype):
                loss = function(*inputs).float().sum()
            loss.backward()
        return inputs, [operator for operator in recorder.operators if operator.is_kernel]

    return run


def bytes_of(operators):
    return [operator.bytes for operator in operators]


@by_operator
class TestBytes:
    """Counted by hand: every element read once and written once."""

    x = torch.randn(6, 10, 8)

    def test_linear(self, kernels):
        weight, bias = torch.randn(16, 8), torch.randn(16)
        (product,) = kernels(lambda: F.linear(self.x, weight, bias))
        assert product.bytes == 4 * (60 * 8 + 16 * 8 + 16 + 60 * 16)
        assert product.flops == 2 * 60 * 8 * 16

    def test_layer_norm_writes_its_statistics(self, kernels):
        gain, shift = torch.randn(8), torch.randn(8)
        (norm,) = kernels(lambda: F.layer_norm(self.x, (8,), gain, shift))
        assert norm.bytes == 4 * (2 * 480 + 8 + 8 + 2 * 60)

    def test_norms_gradient_reads_twice_since_cuda_runs_two_kernels(self, kernels):
        gain, shift = torch.randn(8, requires_grad=True), torch.randn(8, requires_grad=True)
        x = self.x.clone().requires_grad_()
        norm = F.layer_norm(x, (8,), gain, shift)
        (backward,) = [
            o
            for o in kernels(lambda: norm.backward(self.x))
            if o.name == 'native_layer_norm_backward'
        ]
        one_pass = 2 * 480 + 2 * 60 + 8 + 8 + 480 + 8 + 8
        assert backward.bytes == 4 * (one_pass + 2 * 480)

    def test_what_is_broadcast_is_read_once(self, kernels):
        row = torch.randn(8)
        assert bytes_of(kernels(lambda: self.x + row)) == [4 * (480 + 8 + 480)]
        assert bytes_of(kernels(lambda: self.x + row.expand(6, 10, 8))) == [4 * (480 + 8 + 480)]

    def test_one_tensor_given_twice_is_read_once(self, kernels):
        assert bytes_of(kernels(lambda: self.x * self.x)) == [4 * 2 * 480]

    def test_in_place_reads_and_writes(self, kernels):
        x, y = self.x.clone(), torch.randn(6, 10, 8)
        assert bytes_of(kernels(lambda: x.add_(y))) == [4 * 3 * 480]
        assert bytes_of(kernels(lambda: x.copy_(y))) == [4 * 2 * 480]
        assert bytes_of(kernels(lambda: x.zero_())) == [4 * 480]

    def test_point_wise_functions_and_softmax(self, kernels):
        assert bytes_of(kernels(lambda: F.gelu(self.x))) == [4 * 2 * 480]
        assert bytes_of(kernels(lambda: self.x.softmax(-1))) == [4 * 2 * 480]

    def test_a_cast_reads_one_type_and_writes_another(self, kernels):
        assert bytes_of(kernels(lambda: self.x.to(torch.bfloat16))) == [(4 + 2) * 480]

    def test_views_cost_nothing(self, kernels):
        assert (
            kernels(lambda: self.x.transpose(0, 1)[:, 2:].unsqueeze(0).expand(3, -1, -1, -1)) == []
        )

    def test_a_gather_reads_what_it_picks(self, kernels):
        places = torch.zeros(6, 3, 1, dtype=torch.int64).expand(-1, -1, 8)
        assert bytes_of(kernels(lambda: self.x.gather(1, places))) == [4 * 2 * 144 + 8 * 18]

    def test_fused_adamw_reads_four_tensors_and_writes_three(self, kernels):
        weight = torch.randn(100, 8, requires_grad=True)
        weight.grad = torch.ones_like(weight)
        optimizer = torch.optim.AdamW([weight], fused=True)
        optimizer.step()
        (update,) = [o for o in kernels(optimizer.step) if 'adamw' in o.name]
        assert update.bytes == 4 * 7 * 800

    def test_an_operator_of_ones_own_costs_what_it_declares(self, kernels):
        from declared import declare

        @torch.library.custom_op('mmbeitv2_test::twice', mutates_args=())
        def twice(x: torch.Tensor) -> torch.Tensor:
            return 2 * x

        (plain,) = [o for o in kernels(lambda: twice(self.x)) if o.name == 'twice']
        assert (plain.flops, plain.bytes) == (0, 4 * 2 * 480)
        cost = lambda x: (8 * x.numel(), 5 * x.numel())  # noqa: E731
        declare('mmbeitv2_test::twice', kind='attention', of_model=0.5, cost=cost)
        (declared,) = [o for o in kernels(lambda: twice(self.x)) if o.name == 'twice']
        assert (declared.flops, declared.bytes) == (8 * 480, 5 * 480)
        assert (declared.kind, declared.model_flops) == ('attention', 4 * 480)


@by_operator
class TestOperations:
    def test_they_are_those_that_are_counted_elsewhere(self):
        """Of a step with a backward pass, attention among it, and an update."""
        import steps
        from costs import flops
        from record import Recorder

        from mmbeitv2.launch.config import load_config

        cfg = load_config(ROOT / 'configs/demo/beitv2_demo.py')
        cfg.model.target_generator.init_cfg = None
        cfg.model.target_generator.quantizer.kmeans_init = False
        model = steps.pretraining_model(cfg)
        views = [torch.randn(2, 3, 96, 96), steps.random_images(2, 'cpu', 96)]
        step = steps.train_step(model, cfg, views, steps.masked_samples(2, 96), 'float32')
        step()
        with Recorder('cpu') as recorder:
            step()
        assert sum(operator.flops for operator in recorder.operators) == flops(step)


@absent_gpu
class TestFakeGPU:
    def test_gradients_have_the_shapes_and_types_of_what_learns(self, on_gpu):
        def layer(x, weight, bias, gain):
            return F.gelu(F.linear(x, weight, bias)) * gain + x

        inputs, operators = on_gpu(layer, (2, 5, 8), (8, 8), (8,), (8,))
        for tensor in inputs:
            assert tensor.grad.shape == tensor.shape
            assert tensor.grad.dtype == torch.float32
        backward = Counter(o.name for o in operators if o.phase == 'backward')
        # The gain's and the linear bias's sums, and both gradients of x.
        assert (backward['mm'], backward['sum'], backward['gelu_backward']) == (2, 2, 1)
        assert backward['add'] == 1

    def test_autocast_multiplies_in_its_type_and_normalises_in_float32(self, on_gpu):
        def layer(x, weight, gain, shift):
            return F.linear(F.layer_norm(x, (8,), gain, shift), weight)

        _, operators = on_gpu(layer, (2, 5, 8), (8, 8), (8,), (8,))
        kinds = {operator.name: operator.dtype for operator in operators}
        assert kinds['mm'] == torch.bfloat16
        assert kinds['native_layer_norm'] == torch.float32
        # The norm and the weight to bfloat16, and their gradients back; the loss to float32, and
        # its gradient back.
        assert sum(operator.kind == 'casts' for operator in operators) == 6

    def test_a_mask_that_learns_gets_a_gradient_of_every_image(self, on_gpu):
        def attention(q, k, v, mask):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)

        token = (4, 2, 10, 8)
        (*_, mask), operators = on_gpu(attention, token, token, token, (1, 2, 10, 10))
        assert mask.grad.shape == (1, 2, 10, 10)
        (backward,) = [o for o in operators if 'attention_backward' in o.name]
        assert 'efficient' in backward.name
        tokens, pairs, sums = 4 * 2 * 10 * 8 * 2, 4 * 2 * 10 * 10 * 2, 4 * 2 * 10 * 4
        padded = 4 * 2 * 10 * 16 * 2
        assert backward.bytes >= 8 * tokens + pairs
        assert backward.bytes <= 8 * tokens + padded + 4 * sums + 2 * 10 * 16 * 2 + 16

    def test_without_a_mask_attention_is_flash(self, on_gpu):
        token = (4, 2, 10, 8)
        _, operators = on_gpu(F.scaled_dot_product_attention, token, token, token)
        names = [operator.name for operator in operators if operator.kind == 'attention']
        assert names == [
            '_scaled_dot_product_flash_attention', '_scaled_dot_product_flash_attention_backward',
        ]  # fmt: skip

    def test_a_constant_mask_leaves_attention_to_cudnn_where_torch_prefers_it(self, on_gpu):
        def attention(q, k, v, mask):
            return F.scaled_dot_product_attention(q, k, v, attn_mask=mask.detach())

        shapes = [(4, 2, 10, 8)] * 3 + [(1, 2, 10, 10)]
        for cudnn, expected in ((True, 'cudnn'), (False, 'efficient')):
            _, operators = on_gpu(attention, *shapes, cudnn=cudnn)
            backward = [o for o in operators if 'attention_backward' in o.name]
            assert [expected in operator.name for operator in backward] == [True]
            # No gradient of the mask: only those of queries, keys and values.
            assert sum(backward[0].writes.values()) == 3 * 4 * 2 * 10 * 8 * 2

    def test_functions_with_a_backward_pass_of_their_own_are_followed(self, on_gpu):
        from mmbeitv2.models.recomputation import linear_of_gelu

        _, operators = on_gpu(linear_of_gelu, (2, 5, 8), (16, 8), (16,))
        phases = Counter((o.name, o.phase) for o in operators if 'gelu' in o.name)
        assert phases == {
            ('gelu', 'forward'): 1, ('gelu', 'recomputation'): 1, ('gelu_backward', 'backward'): 1,
        }  # fmt: skip

    def test_a_boolean_index_picks_as_many_as_it_is_told(self, on_gpu):
        def picked(x):
            return x[torch.ones(2, 5, dtype=torch.bool, device='cuda')] * 2

        (x,), operators = on_gpu(picked, (2, 5, 8), dtype=torch.float32)
        assert x.grad.shape == x.shape
        (product,) = [o for o in operators if o.name == 'mul' and o.phase == 'forward']
        assert product.bytes == 4 * 2 * 3 * 8


@absent_gpu
class TestPrediction:
    @pytest.fixture
    def recordings(self):
        """A tokenizer's step as it is, and told that it is compiled."""
        from gpu_steps import tokenizing
        from recording import record

        return [record(tokenizing, 32, torch.bfloat16, compiled) for compiled in (False, True)]

    def test_compiled_layers_move_less_and_multiply_the_same(self, recordings):
        from fusion import fuse

        eager, compiled = recordings[0].operators, fuse(recordings[1].operators)
        assert sum(o.flops for o in compiled) == sum(o.flops for o in eager)
        assert sum(bytes_of(compiled)) < 0.9 * sum(bytes_of(eager))
        assert len(compiled) < sum(o.is_kernel for o in eager)

    def test_a_chain_between_two_products_is_one_kernel(self, on_gpu):
        from fusion import fuse

        def chain(x, weight):
            return F.gelu(x @ weight + 1) * 2

        _, operators = on_gpu(chain, (5, 8), (8, 8), dtype=torch.float32)
        forward = [o for o in operators if o.phase == 'forward']
        for operator in forward:
            operator.layer = 0
        product, fused = fuse([*forward, *(o for o in operators if o.phase != 'forward')])[:2]
        assert product.name == 'mm'
        assert fused.name.startswith('add+gelu+mul')
        # Reads the product; gelu's input is kept for the backward pass; the result is summed here.
        assert fused.reads == product.writes
        assert 40 * 4 in fused.writes.values()

    def test_time_is_the_longer_of_computing_and_moving(self, recordings):
        from cards import CARDS
        from timing import kernel_seconds, rate

        card = CARDS['h200']
        for operator in recordings[0].operators:
            if operator.is_kernel:
                moving = operator.bytes / (card.memory_fraction * card.memory_peak)
                computing = operator.flops / rate(operator, card)
                longer = max(moving, computing)
                expected = moving + computing if operator.kind == 'attention' else longer
                assert kernel_seconds(operator, card) == expected + card.gap

    def test_a_small_batch_waits_for_the_host(self):
        from cards import CARDS
        from gpu_steps import tokenizing
        from recording import record
        from timing import step_seconds

        operators = record(tokenizing, 1, torch.bfloat16).operators
        timing = step_seconds(operators, CARDS['h200'], compiled=False)
        assert timing.seconds >= timing.host_seconds > timing.device_seconds

    def test_a_training_step_is_recorded_to_its_end(self):
        from gpu_steps import pretraining
        from recording import record

        operators = record(pretraining, 2, torch.float32).operators
        # As in test_benchmarks.py.
        assert sum(o.model_flops for o in operators) == pytest.approx(2 * 153.0e9, rel=0.01)
        phases = Counter(operator.phase for operator in operators)
        assert set(phases) == {'tokenizer', 'forward', 'backward', 'recomputation', 'optimiser'}
        names = Counter(operator.name for operator in operators)
        assert names['_fused_adamw_'] == 2
        # One of every layer of backbone and aggregation, and the tokenizer's without a backward.
        assert names['_scaled_dot_product_efficient_attention_backward'] == 14
        assert names['_scaled_dot_product_efficient_attention'] == 14 + 12

    @pytest.mark.parametrize('peer', ['official_pretraining', 'mmpretrain_pretraining'])
    def test_peers_compute_every_token_in_mixed_precision(self, peer):
        import gpu_steps
        from recording import record

        operators = record(getattr(gpu_steps, peer), 2, torch.float16).operators
        assert sum(o.model_flops for o in operators) == pytest.approx(2 * 163.8e9, rel=0.01)
        products = {o.dtype for o in operators if o.phase == 'backward' and o.name == 'mm'}
        assert products == {torch.float16}
        unscaled = [o for o in operators if 'unscale' in o.name]
        assert len(unscaled) == 1
        # 106 M gradients read and written.
        assert unscaled[0].bytes > 2 * 4 * 100e6

    def test_a_step_that_a_peer_lacks_is_refused(self):
        from argparse import Namespace

        from predict import variants

        with pytest.raises(SystemExit, match='--only is official, which has no step finetune'):
            variants(Namespace(step='finetune', only='official'))

    def test_one_command_prints_and_writes(self, tmp_path):
        command = [sys.executable, FOLDER / 'predict.py', '--gpu', 'h100', '--batch', '2']
        command += ['--step', 'tokenizing', '--json', tmp_path / 'predicted.json']
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert '== ours, compiled:' in result.stdout
        written = json.loads((tmp_path / 'predicted.json').read_text())
        assert written['ours']['ms'] > written['ours, compiled']['ms'] > 0

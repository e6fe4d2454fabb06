"""Compiled layers: one graph each, the same numbers."""

import inspect
import logging
from types import SimpleNamespace

import pytest
import torch
from backward_walk import WalkedBackward
from cuda_autocast import CudaAutocast, cuda_autocast
from cuda_rules import CudaRules
from fake_gpu import GPU
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing import assert_close

from mmbeitv2.engine import CompileHook, compile_hook, compile_layers
from mmbeitv2.models import BEiTViT

POSITIONS = [
    dict(),
    dict(use_shared_rel_pos_bias=True),
    dict(use_rel_pos_bias=True),
    dict(use_shared_rel_pos_bias=True, use_rel_pos_bias=True),
]


whole_layers = pytest.mark.needs_torch('2.4', 'layers compiled as one graph')


@pytest.fixture(autouse=True)
def nothing_compiled():
    """Other tests compile the same code for other layers."""
    torch.compiler.reset()


@pytest.fixture
def backbone(request):
    """Three layers whose biases and layer scales are not trivial."""
    model = BEiTViT(
        arch=dict(embed_dim=24, depth=3, num_heads=2), img_size=32, init_values=0.5, **request.param
    )
    model.init_weights()
    for name, parameter in model.named_parameters():
        if 'bias' in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return model.train()


def results(model, images):
    """Features of [CLS] and patches, and the gradients of all parameters and of the images."""
    x, grid = model.embed(images)
    queries = torch.tensor([[0, 2], [0, 4]])
    x = model.layers(x, grid, model.shared_bias(grid), queries=queries)
    parameters = [p for name, p in model.named_parameters() if not name.startswith('norm')]
    loss = (x * torch.arange(float(x.numel())).view_as(x).sin()).sum()
    return x, *torch.autograd.grad(loss, [images, *parameters], allow_unused=True)


@whole_layers
@pytest.mark.parametrize('backbone', POSITIONS, indirect=True)
def test_each_layer_is_one_graph_with_the_same_numbers(backbone):
    images = torch.randn(2, 3, 32, 32, requires_grad=True)
    expected = results(backbone, images)
    # With fullgraph a layer that has to be cut into pieces is an error.
    assert compile_layers(backbone, backend='aot_eager', fullgraph=True) == 3
    found = results(backbone, images)
    assert any(gradient is not None for gradient in expected[2:])
    for a, b in zip(found, expected, strict=True):
        if b is None:
            assert a is None
        else:
            assert_close(a, b, rtol=1e-4, atol=1e-5)


# Up to the graph: torch's own backends ask the driver for streams when they make the backward pass.
@pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')
@pytest.mark.parametrize('precision', [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize('positions', POSITIONS, ids=str)
def test_each_layer_is_one_graph_on_a_gpu_under_autocast(positions, precision, monkeypatch):
    monkeypatch.setattr(torch, 'autocast', CudaAutocast)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    with FakeTensorMode():
        with GPU:
            arch = dict(embed_dim=48, depth=3, num_heads=2)
            model = BEiTViT(arch=arch, img_size=64, init_values=0.5, **positions).train()
            images = torch.randn(2, 3, 64, 64, requires_grad=True)
            queries = torch.zeros(2, 5, dtype=torch.int64)
        compile_layers(model, backend=backend, fullgraph=True)
        with cuda_autocast(precision):
            x, grid = model.embed(images)
            x = model.layers(x, grid, model.shared_bias(grid), queries=queries)
        with CudaRules(), WalkedBackward():
            x.sum().backward()
    # All layers are alike but the last, which has queries.
    assert len(graphs) == 2
    assert {p.grad is None for n, p in model.named_parameters() if n.startswith('blocks')} == {
        False
    }
    assert images.grad.is_cuda


@pytest.mark.skipif(
    'recompile_limit' not in inspect.signature(torch.compile).parameters,
    reason='this torch takes no limit of compilations (torch 2.14 does)',
)
def test_layers_that_drop_with_many_probabilities_are_all_compiled():
    arch = dict(embed_dim=24, depth=12, num_heads=2)
    model = BEiTViT(arch=arch, img_size=32, drop_path_rate=0.2, out_type='featmap').train()
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    # With fullgraph a layer beyond torch's limit of compilations is an error.
    compile_layers(model, backend=backend, fullgraph=True)
    model(torch.randn(4, 3, 32, 32))[0].sum().backward()
    assert len(graphs) == 12


@pytest.fixture
def runner(caplog):
    """What the hook sees of a runner, with a model of two layers."""
    model = BEiTViT(arch=dict(embed_dim=24, depth=2, num_heads=2), img_size=32)
    caplog.set_level(logging.INFO)
    return SimpleNamespace(model=model, logger=logging.getLogger('runner'))


def compiled(model):
    return [block._compiled_call_impl is not None for block in model.blocks]


@whole_layers
@pytest.mark.parametrize(('device', 'expected'), [('any', True), ('cpu', True), ('cuda', False)])
def test_layers_are_compiled_on_the_devices_asked_for(runner, device, expected):
    CompileHook(device=device, backend='aot_eager').before_train(runner)
    assert compiled(runner.model) == [expected] * 2


@whole_layers
def test_run_goes_on_uncompiled_without_a_compiler_and_says_so(runner, caplog):
    def no_compiler(graph, inputs):
        raise FileNotFoundError('no C compiler\nand a long story')

    CompileHook(backend=no_compiler).before_train(runner)
    assert compiled(runner.model) == [False] * 2
    (message,) = caplog.messages
    assert 'not compiled' in message
    assert 'no C compiler' in message
    assert 'long story' not in message
    runner.model(torch.randn(1, 3, 32, 32))[0].sum().backward()


@whole_layers
def test_trial_leaves_the_model_as_it_is(runner):
    before = {name: value.clone() for name, value in runner.model.state_dict().items()}
    CompileHook(backend='aot_eager').before_train(runner)
    assert all(torch.equal(before[name], v) for name, v in runner.model.state_dict().items())
    assert all(parameter.grad is None for parameter in runner.model.parameters())


@pytest.fixture
def old_torch(monkeypatch):
    """Torch 2.1, as far as compilation goes."""
    monkeypatch.setattr(compile_hook, 'COMPILES_LAYERS', False)
    monkeypatch.setattr(torch, '__version__', '2.1.2')


def test_old_torch_leaves_layers_as_they_are_and_says_so(runner, caplog, old_torch):
    CompileHook(backend='aot_eager').before_train(runner)
    assert compiled(runner.model) == [False] * 2
    (message,) = caplog.messages
    assert 'need torch 2.4 or later, this is 2.1.2: they stay as they are' in message


def test_old_torch_compiles_no_layers_in_pieces(runner, old_torch):
    with pytest.raises(ImportError, match=r'need torch 2\.4 or later, this is 2\.1\.2: upd'):
        compile_layers(runner.model)
    assert compiled(runner.model) == [False] * 2


def test_unknown_device_is_refused():
    with pytest.raises(ValueError, match="device is 'gpu', allowed: cuda, cpu, any, none"):
        CompileHook(device='gpu')


@whole_layers
@pytest.mark.parametrize('backbone', [dict(use_rel_pos_bias=True)], indirect=True)
def test_adapted_layers_are_one_graph_with_the_same_numbers(backbone):
    class Adapted(torch.nn.Module):
        def __init__(self, layer):
            super().__init__()
            self.layer = layer
            self.scale = torch.nn.Parameter(torch.tensor(2.0))

        def forward(self, x):
            return self.scale * self.layer(x)

    for block in backbone.blocks:
        block.attn.qkv = Adapted(block.attn.qkv)
        block.mlp.fc1.register_forward_hook(lambda module, args, out: out + 1)
    images = torch.randn(2, 3, 32, 32)
    (expected,) = backbone(images)
    compile_layers(backbone, backend='aot_eager', fullgraph=True)
    (found,) = backbone(images)
    assert_close(found, expected, rtol=1e-4, atol=1e-5)
    found.sum().backward()
    assert backbone.blocks[0].attn.qkv.scale.grad is not None

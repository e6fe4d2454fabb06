"""Who puts a layer in another's place, or looks at one, is heeded, in training as in evaluation."""

import copy
import io

import pytest
import torch
from mmengine.analysis import FlopAnalyzer, get_model_complexity_info
from mmpretrain.models.peft.lora import LoRAModel
from torch import nn
from torch.autograd.function import BackwardCFunction
from torch.nn.utils import parametrizations, prune
from torch.testing import assert_close

from mmbeitv2.models import BEiTViT, MIMHead, VisionTransformer
from mmbeitv2.models.shortcuts import can_bypass

WIDTH, DEPTH = 24, 2
BACKBONE = dict(arch=dict(embed_dim=WIDTH, depth=DEPTH, num_heads=2), img_size=32, init_values=0.5)
POSITIONS = [
    dict(use_abs_pos_emb=False, use_shared_rel_pos_bias=True),
    dict(use_abs_pos_emb=False, use_rel_pos_bias=True),
    dict(),
]
LAYERS = ['norm1', 'attn', 'attn.qkv', 'attn.proj', 'norm2', 'mlp', 'mlp.fc1', 'mlp.act', 'mlp.fc2']


def make_backbone(**kwargs):
    model = BEiTViT(**{**BACKBONE, **kwargs})
    model.init_weights()
    for name, parameter in model.named_parameters():
        if 'bias' in name:
            nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def images():
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[True, False], ids=['training', 'evaluation'])
def backbone(request):
    torch.manual_seed(0)
    return make_backbone(out_type='raw', use_rel_pos_bias=True).train(request.param)


class LoRA(nn.Module):
    """What every library of adapters does: y = W x + B A x."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer.requires_grad_(False)
        self.down = nn.Linear(layer.in_features, 2, bias=False)
        self.up = nn.Linear(2, layer.out_features, bias=False)

    def forward(self, x):
        return self.layer(x) + self.up(self.down(x))


def gradients_and_output(model, images, names):
    """The output; it is an error if one of the named parameters gets no gradient."""
    (out,) = model(images)
    out.square().sum().backward()
    wanted = {n: p.grad for n, p in model.named_parameters() if any(name in n for name in names)}
    assert wanted
    for name, gradient in wanted.items():
        assert gradient is not None, name
        assert gradient.abs().sum() > 0, name
    return out.detach()


@pytest.mark.parametrize('name', ['attn.qkv', 'attn.proj', 'mlp.fc1', 'mlp.fc2'])
def test_low_rank_adapters_change_the_output_and_learn(name, backbone, images):
    (before,) = backbone(images)
    for block in backbone.blocks:
        parent, _, child = name.rpartition('.')
        setattr(block.get_submodule(parent), child, LoRA(block.get_submodule(name)))
    out = gradients_and_output(backbone, images, ['down', 'up'])
    assert (out - before).abs().max() > 1e-3


def test_an_adapter_that_adds_nothing_changes_nothing(backbone, images):
    (before,) = backbone(images)
    for block in backbone.blocks:
        block.attn.qkv = LoRA(block.attn.qkv)
        nn.init.zeros_(block.attn.qkv.up.weight)
    assert_close(backbone(images)[0], before, atol=1e-5, rtol=1e-5)


def test_adapted_queries_of_some_tokens_are_those_of_all(backbone, images):
    for block in backbone.blocks:
        block.attn.qkv = LoRA(block.attn.qkv)
    x, grid = backbone.embed(images)
    wanted = torch.tensor([[0, 3], [2, 4]])
    every = backbone.layers(x, grid)
    some = backbone.layers(x, grid, queries=wanted)
    assert_close(some, every.gather(1, wanted[..., None].expand(-1, -1, WIDTH)))


def test_lora_of_mmpretrain_learns_in_queries_and_keys(images):
    config = dict(type='mmbeitv2.BEiTViT', **BACKBONE, out_type='raw')
    model = LoRAModel(config, rank=2, alpha=4, targets=[dict(type='.*qkv'), dict(type='fc1')])
    model.train()
    (before,) = model(images)
    for name, parameter in model.named_parameters():
        if 'lora_up' in name:
            nn.init.normal_(parameter)
    out = gradients_and_output(model, images, ['lora_'])
    assert (out - before).abs().max() > 1e-3


@pytest.mark.parametrize('use_dora', [False, True], ids=['lora', 'dora'])
def test_lora_of_peft_learns_is_merged_and_taken_out(use_dora, images):
    peft = pytest.importorskip('peft')
    backbone = make_backbone(out_type='raw')
    (before,) = backbone(images)
    config = peft.LoraConfig(
        r=2, target_modules=['qkv', 'fc2'], init_lora_weights=False, use_dora=use_dora
    )
    model = peft.get_peft_model(backbone, config)
    out = gradients_and_output(model, images, ['lora_'])
    assert (out - before).abs().max() > 1e-3
    with model.disable_adapter():
        assert_close(model(images)[0], before, atol=1e-5, rtol=1e-5)
    merged = model.eval().merge_and_unload()
    assert type(merged.blocks[0].attn.qkv) is nn.Linear
    assert_close(merged(images)[0], out, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize('name', LAYERS)
def test_every_kind_of_hook_is_called_once_for_every_layer(name, backbone, images):
    seen = []

    def note(kind):
        return lambda *_: seen.append(kind)

    for block in backbone.blocks:
        layer = block.get_submodule(name)
        layer.register_forward_pre_hook(note('before'))
        layer.register_forward_hook(note('after'))
        layer.register_full_backward_hook(note('backward'))
    (expected,) = copy.deepcopy(backbone)(images)
    seen.clear()
    (out,) = backbone(images)
    assert seen == ['before', 'after'] * DEPTH
    out.sum().backward()
    assert seen[2 * DEPTH :] == ['backward'] * DEPTH
    assert_close(out, expected)


@pytest.mark.parametrize('name', ['attn', 'mlp'])
def test_hooks_of_a_branch_see_its_normalised_input(name, backbone, images):
    inputs = []
    backbone.blocks[0].get_submodule(name).register_forward_pre_hook(
        lambda module, args: inputs.append(args[0])
    )
    backbone(images)
    norm = dict(attn='norm1', mlp='norm2')[name]
    gain, shift = backbone.blocks[0].get_submodule(norm).parameters()
    means = ((inputs[0] - shift) / gain).mean(-1)
    assert_close(means, torch.zeros_like(means), atol=1e-5, rtol=0)


def test_hooks_of_all_modules_are_called_for_every_layer(backbone, images):
    seen = []
    handle = nn.modules.module.register_module_forward_hook(
        lambda module, *_: seen.append(id(module))
    )
    try:
        backbone(images)
    finally:
        handle.remove()
    for name in LAYERS:
        assert id(backbone.blocks[0].get_submodule(name)) in seen, name


def test_a_hook_may_replace_what_a_layer_gives(backbone, images):
    (before,) = backbone(images)
    backbone.blocks[0].attn.qkv.register_forward_hook(lambda module, args, out: out + 1)
    assert (backbone(images)[0] - before).abs().max() > 1e-3


def test_a_forward_of_the_instance_is_called(backbone, images):
    for block in backbone.blocks:
        block.mlp.fc2.forward = lambda x: torch.zeros(*x.shape[:-1], WIDTH)
    x, _ = backbone.embed(images)
    assert_close(backbone.blocks[0].mlp(x), torch.zeros_like(x))


def test_another_branch_takes_tokens_alone(backbone, images):
    backbone.blocks[0].mlp = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
    gradients_and_output(backbone, images, ['blocks.0.mlp.0.weight', 'blocks.0.norm2'])


def test_another_activation_and_another_gelu_are_used(backbone, images):
    x = torch.randn(2, 5, WIDTH)
    mlp = backbone.blocks[0].mlp
    for activation in (nn.ReLU(), nn.GELU(approximate='tanh')):
        mlp.act = activation
        assert_close(mlp(x), mlp.fc2(activation(mlp.fc1(x))), atol=1e-7, rtol=1e-6)


def test_projections_with_a_bias_keep_it(backbone, images):
    (before,) = backbone(images)
    attn = backbone.blocks[0].attn
    biased = nn.Linear(WIDTH, 3 * WIDTH)
    biased.weight, attn.qkv = attn.qkv.weight, biased
    nn.init.constant_(biased.bias, 2.0)
    assert (backbone(images)[0] - before).abs().max() > 1e-3


def test_norms_without_parameters_or_without_a_shift(backbone, images):
    backbone.blocks[0].norm1 = nn.LayerNorm(WIDTH, elementwise_affine=False)
    backbone.blocks[1].norm2 = nn.LayerNorm(WIDTH, bias=False)
    gradients_and_output(backbone, images, ['blocks.1.norm2', 'blocks.0.mlp'])


@pytest.mark.parametrize('name', ['attn.qkv', 'mlp.fc1', 'mlp.fc2'])
def test_parametrized_and_pruned_layers(name, backbone, images):
    (before,) = backbone(images)
    layer = backbone.blocks[0].get_submodule(name)
    parametrizations.weight_norm(layer)
    assert_close(backbone(images)[0], before, atol=1e-5, rtol=1e-5)
    gradients_and_output(backbone, images, [f'blocks.0.{name}.parametrizations'])
    pruned = backbone.blocks[1].get_submodule(name)
    prune.random_unstructured(pruned, 'weight', amount=0.5)
    with torch.no_grad():
        pruned.weight_orig.mul_(3)
    backbone.zero_grad()
    # Pruning makes the weight anew in a hook of the forward pass.
    gradients_and_output(backbone, images, [f'blocks.1.{name}.weight_orig'])
    assert_close(pruned.weight, pruned.weight_orig * pruned.weight_mask)
    assert (pruned.weight_orig.grad[pruned.weight_mask == 0] == 0).all()


def class_activation_map(model, layer, images):
    """Grad-CAM of [CLS]: activations weighted by their mean gradients."""
    kept = {}

    def keep(module, args, out):
        kept['activations'] = out
        out.register_hook(lambda gradient: kept.update(gradients=gradient))

    handle = layer.register_forward_hook(keep)
    model(images)[0][:, 0, 0].sum().backward()
    handle.remove()
    weights = kept['gradients'].mean(dim=1, keepdim=True)
    return (kept['activations'] * weights).sum(-1)[:, 1:].unflatten(1, (2, 2))


@pytest.mark.parametrize('name', ['norm1', 'attn.qkv', 'norm2', 'mlp.fc1', 'mlp.fc2'])
def test_class_activations_of_every_layer(name, backbone, images):
    # The second last, since the last one's MLP changes patches that [CLS] no longer sees.
    result = class_activation_map(backbone, backbone.blocks[0].get_submodule(name), images)
    assert result.shape == (2, 2, 2)
    assert result.isfinite().all()
    assert result.abs().min() > 0


def test_grad_cam_draws_a_map(images):
    cams = pytest.importorskip('pytorch_grad_cam')

    class Classifier(nn.Module):
        def __init__(self):
            super().__init__()
            self.backbone = make_backbone()
            self.head = nn.Linear(WIDTH, 5)

        def forward(self, x):
            return self.head(self.backbone(x)[-1])

    model = Classifier().eval()
    for method, least in ((cams.GradCAM, 0), (cams.GradCAMElementWise, 0.5)):
        cam = method(
            model,
            [model.backbone.blocks[-1].norm1],
            reshape_transform=lambda x: x[:, 1:].transpose(1, 2).unflatten(2, (2, 2)),
        )
        found = cam(images, targets=None)
        assert found.shape == (2, 32, 32)
        # Mean gradients may be negative in every patch, those of all elements are not.
        assert found.max() >= least
        assert cam.activations_and_grads.gradients[0].abs().sum() > 0


@pytest.mark.parametrize('positions', POSITIONS, ids=str)
@pytest.mark.parametrize('training', [False, True])
def test_traced_models_give_the_same_with_gradients_enabled(positions, training, images):
    backbone = make_backbone(**positions).train(training)
    traced = torch.jit.trace(backbone, images)
    other = images.flip(0) * 0.5
    assert_close(traced(other), backbone(other), atol=1e-5, rtol=1e-5)
    file = io.BytesIO()
    torch.jit.save(traced, file)
    file.seek(0)
    assert_close(torch.jit.load(file)(other), backbone(other), atol=1e-5, rtol=1e-5)


def test_a_trace_records_the_calls_of_all_layers(images):
    scopes = torch.jit.trace(make_backbone(), images).inlined_graph
    text = str(scopes)
    for name in ('qkv', 'proj', 'fc1', 'act', 'fc2', 'norm1', 'norm2'):
        assert f'__module.blocks.0.{"attn." if name in ("qkv", "proj") else ""}' in text
        assert f'.{name}' in text, name


@pytest.mark.needs_torch('2.4', 'exported programs of layers')
@pytest.mark.parametrize('training', [False, True])
def test_exported_programs_give_the_same(training, images):
    backbone = make_backbone(**POSITIONS[1]).train(training)
    program = torch.export.export(backbone, (images,))
    other = images.flip(0) * 0.5
    assert_close(program.module()(other), backbone(other), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('training', [False, True])
def test_gradients_of_single_images_by_torch_func(training, images):
    backbone = make_backbone(**POSITIONS[1]).train(training)
    weights = {name: p.detach() for name, p in backbone.named_parameters()}

    def loss(weights, image):
        return torch.func.functional_call(backbone, weights, (image[None],))[0].square().sum()

    per_image = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, images)
    backbone(images)[0].square().sum().backward()
    for name, parameter in backbone.named_parameters():
        if parameter.grad is not None:
            assert_close(per_image[name].sum(0), parameter.grad, atol=1e-3, rtol=1e-3)


def test_second_derivatives_are_right_in_evaluation_and_refused_in_training():
    torch.manual_seed(0)
    backbone = make_backbone(**POSITIONS[1]).double().eval()
    images = torch.randn(1, 3, 32, 32, dtype=torch.float64, requires_grad=True)

    def penalty(images):
        (gradient,) = torch.autograd.grad(
            backbone(images)[0].square().sum(), images, create_graph=True
        )
        return gradient.square().sum()

    (found,) = torch.autograd.grad(penalty(images), images)
    step = torch.randn_like(images)
    step = 1e-5 * step / step.norm()
    expected = (penalty(images + step) - penalty(images - step)) / 2
    assert_close((found * step).sum(), expected, rtol=1e-4, atol=1e-12)
    backbone.train()
    with pytest.raises(ValueError, match=r'second derivatives.*call model\.eval\(\)'):
        penalty(images)


def test_evaluation_uses_no_backward_pass_of_ones_own(images):
    backbone = make_backbone(**POSITIONS[1]).eval()
    names, pending = set(), [backbone(images)[0].grad_fn]
    while pending:
        node = pending.pop()
        if node is not None and node not in names:
            names.add(node)
            pending += [parent for parent, _ in node.next_functions]
    assert not [node for node in names if isinstance(node, BackwardCFunction)]


def test_complexity_is_counted_for_every_layer(images):
    backbone = make_backbone(**POSITIONS[1]).eval()
    # 5 tokens; qkv, the projection and the two layers of the MLP have 12 C² weights.
    assert get_model_complexity_info(backbone, (3, 32, 32))['flops'] >= DEPTH * 5 * 12 * WIDTH**2
    counts = FlopAnalyzer(backbone, images[:1]).by_module()
    for name, weights in (('attn.qkv', 3), ('attn.proj', 1), ('mlp.fc1', 4), ('mlp.fc2', 4)):
        assert counts[f'blocks.1.{name}'] == 5 * weights * WIDTH**2


def test_dynamically_quantized_layers_are_used(images):
    backbone = make_backbone(out_type='raw').eval()
    (expected,) = backbone(images)
    quantized = torch.ao.quantization.quantize_dynamic(backbone, {nn.Linear}, dtype=torch.qint8)
    assert type(quantized.blocks[0].attn.qkv) is not nn.Linear
    (found,) = quantized(images)
    assert 0 < (found - expected).abs().max() < 0.1 * expected.abs().max()


@pytest.mark.parametrize('positions', POSITIONS, ids=str)
def test_models_in_float64_are_the_float32_ones(positions, images):
    backbone = make_backbone(**positions).train()
    (expected,) = backbone(images)
    (found,) = backbone.double()(images.double())
    assert found.dtype == torch.float64
    assert_close(found.float(), expected, atol=1e-5, rtol=1e-4)
    found.sum().backward()


def test_plain_layers_are_bypassed_in_training_and_nothing_is_kept_for_them(images):
    model = VisionTransformer(32, embed_dim=WIDTH, depth=1, num_heads=2).train()
    assert all(can_bypass(layer) for layer in (model.blocks[0].norm1, model.blocks[0].mlp.fc1))
    kept = []

    def memory():
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
            model.patch_tokens(images)
        return sum(
            {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}.values()
        )

    plain = memory()
    model.blocks[0].mlp.fc2.register_forward_hook(lambda *_: None)
    assert memory() > plain


class TestHead:
    @pytest.fixture
    def head(self):
        head = MIMHead(WIDTH, 16)
        head.init_weights()
        return head.train()

    @pytest.fixture
    def batch(self):
        return torch.randn(2, 3, WIDTH), torch.randint(16, (2, 3))

    def test_adapters_of_the_head_learn(self, head, batch):
        before, _ = head.loss_of_tokens(*batch)
        head.lm_head = LoRA(head.lm_head)
        loss, _ = head.loss_of_tokens(*batch)
        assert loss != before
        loss.backward()
        assert head.lm_head.up.weight.grad.abs().sum() > 0

    @pytest.mark.parametrize(
        'register',
        [
            'register_forward_pre_hook',
            'register_forward_hook',
            'register_full_backward_pre_hook',
            'register_full_backward_hook',
        ],
    )
    @pytest.mark.parametrize('which', ['', 'lm_head'])
    def test_hooks_of_the_head_and_of_its_classifier_are_called(self, register, which, head, batch):
        seen = []
        getattr(head.get_submodule(which), register)(lambda *_: seen.append(1))
        head.loss_of_tokens(*batch)[0].backward()
        assert seen == [1]

    def test_evaluation_differentiates_with_torchs_operators(self, head, batch):
        trained, _ = head.loss_of_tokens(*batch)
        evaluated, _ = head.eval().loss_of_tokens(*batch)
        assert not isinstance(evaluated.grad_fn, BackwardCFunction)
        assert_close(evaluated, trained)

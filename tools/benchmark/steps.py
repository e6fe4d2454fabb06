"""Our steps at the paper's sizes, which the benchmarks time and ``count.py`` counts.

Every builder takes ``batch`` (images), ``device``, ``precision`` (``'float32'`` or ``'bfloat16'``)
and gives a function that makes one step.
"""

import argparse

import torch
import torch.distributed as dist
from costs import Step
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from mmbeitv2.datasets.masking import BlockMask
from mmbeitv2.engine import compile_layers
from mmbeitv2.engine.attention_hook import learned_bias_sizes_of
from mmbeitv2.engine.deferred_scalars import DeferredScalars
from mmbeitv2.errors import InputError
from mmbeitv2.launch.config import load_config
from mmbeitv2.models import VQKD, BEiTV2, BEiTViT, NormEMAQuantizer, VQKDTokenizer
from mmbeitv2.models.bias_gradient import choose_kernels
from mmbeitv2.models.bias_gradient_trial import try_kernels
from mmbeitv2.models.teachers.base import FrozenTeacher
from mmbeitv2.registry import MODELS

PRETRAINING = 'mmbeitv2::beitv2_vit-b16_300e.py'
TOKENIZER = 'mmbeitv2::vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'
SEGMENTATION = 'mmbeitv2::segmentation/upernet_beitv2-b16_1600e_160k_ade20k-512x512.py'


def autocast(device: str, precision: str) -> torch.autocast:
    """Context of the precision; no change of anything for ``'float32'``."""
    kind = torch.device(device).type
    # autocast knows no meta device, on which steps are counted without being computed.
    kind = 'cpu' if kind == 'meta' else kind
    return torch.autocast(kind, torch.bfloat16, enabled=precision == 'bfloat16')


def quantizer(num_codes: int = 8192, code_dim: int = 32) -> NormEMAQuantizer:
    """The paper's quantizer with a random codebook."""
    return NormEMAQuantizer(num_codes, code_dim, kmeans_init=False)


def vectors(batch: int, device: str, code_dim: int = 32) -> Tensor:
    """Random vectors of 14 × 14 patches, float32 ``(batch, code_dim, 14, 14)``."""
    return torch.randn(batch, code_dim, 14, 14, device=device, requires_grad=True)


def quantizer_step(batch: int, device: str, precision: str = 'float32', **sizes: int) -> Step:
    """Quantize vectors, move the codebook, and go back to the vectors."""
    model = quantizer(**sizes).to(device)
    z = vectors(batch, device, model.code_dim)

    def step() -> None:
        z.grad = None
        with autocast(device, precision):
            z_q, _, loss = model(z)
            (z_q.mean() + loss).backward()

    return step


def tokenizer(img_size: int = 224) -> VQKDTokenizer:
    """The paper's tokenizer with random weights."""
    cfg = load_config(PRETRAINING).model.target_generator
    encoder = {**cfg.encoder, 'img_size': img_size}
    quantizer = dict(**cfg.quantizer, kmeans_init=False)
    model = VQKDTokenizer(encoder, quantizer, mixed_precision='bfloat16')
    model.encoder.init_weights()
    return model


def random_images(batch: int, device: str, size: int = 224) -> Tensor:
    """Float in [−1, 1], ``(batch, 3, size, size)``."""
    return torch.rand(batch, 3, size, size, device=device) * 2 - 1


def as_trained(model: nn.Module, batch: int, device: str, precision: str, compiled: bool) -> None:
    """Prepare a step's model as the runs' hooks would: attention's trial and compiled layers.

    Args:
        model: on its device.
        batch: images a step.
        device: of the model.
        precision: ``'float32'`` or ``'bfloat16'``.
        compiled: whether layers are compiled; otherwise nothing is done.
    """
    if not compiled:
        return
    sizes = learned_bias_sizes_of(model)
    if sizes is not None and precision == 'bfloat16':
        trial = try_kernels(batch, *sizes, torch.bfloat16, device)
        choose_kernels(trial.pays)
        print(f'attention with a bias that learns: {trial}', flush=True)
    compile_layers(model)


def tokenizing_step(
    batch: int, device: str, precision: str = 'float32', compiled: bool = False
) -> Step:
    """Codes of all patches."""
    model, images = tokenizer().to(device), random_images(batch, device)
    as_trained(model, batch, device, precision, compiled)

    def step() -> Tensor:
        with autocast(device, precision):
            return model.tokenize(images)

    return step


def pretraining_config(img_size: int = 224) -> Config:
    """Config of the base run with a tokenizer that needs no file."""
    cfg = load_config(PRETRAINING)
    cfg.model.target_generator.init_cfg = None
    cfg.model.target_generator.quantizer.kmeans_init = False
    # The peer's runs in the precision of training; ours would by default change fewer codes.
    cfg.model.target_generator.mixed_precision = 'bfloat16'
    cfg.model.target_generator.encoder.img_size = img_size
    cfg.model.backbone.img_size = img_size
    return cfg


def pretraining_model(cfg: Config) -> BEiTV2:
    """The base model; its relative bias is not zero, as after some training."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        model.init_weights()
    model.target_generator.encoder.init_weights()
    nn.init.normal_(model.backbone.rel_pos_bias.relative_position_bias_table, std=0.02)
    return model.train()


def masked_samples(batch: int, size: int = 224) -> list[DataSample]:
    """Data samples with masks of 40 % of the patches."""
    grid = size // 16
    mask = BlockMask(grid, round(0.3827 * grid**2), min_block=16 * grid**2 // 196)
    return [DataSample(mask=mask({})['mask']) for _ in range(batch)]


def optimizer_wrapper(cfg: Config, model: nn.Module, precision: str):
    """The config's optimiser, in the precision asked for."""
    kind = 'mmbeitv2.MixedPrecisionOptimWrapper'
    # The peer's config has mmengine's wrapper, with a scale of the loss.
    config = {k: v for k, v in cfg.optim_wrapper.items() if k not in ('type', 'loss_scale')}
    config['precision'] = precision
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return build_optim_wrapper(model, dict(type=kind, **config))


def train_step(model: nn.Module, cfg: Config, inputs: object, samples: object, precision: str):
    """A whole step as the runner makes it, on inputs that lie on the device already.

    In a distributed run gradients are averaged over the processes. Where the config reads the norm
    of the gradients when it is logged, no step waits for it.

    Returns a function that returns the loss.
    """
    wrapper = optimizer_wrapper(cfg, model, precision)
    if 'mmbeitv2.DeferredRuntimeInfoHook' in (hook['type'] for hook in cfg.default_hooks.values()):
        wrapper.deferred_scalars = DeferredScalars(wrapper.message_hub)
    network = model
    if dist.is_initialized() and dist.get_world_size() > 1:
        network = DistributedDataParallel(model, broadcast_buffers=False)

    def step() -> Tensor:
        with wrapper.optim_context(network):
            losses = network(inputs, samples, mode='loss')
        loss, _ = model.parse_losses(losses)
        wrapper.update_params(loss)
        return loss.detach()

    return step


def pretraining_step(
    batch: int,
    device: str,
    precision: str = 'float32',
    compiled: bool = False,
    img_size: int = 224,
) -> Step:
    """Tokenize, predict the codes of masked patches by both branches, and update."""
    cfg = pretraining_config(img_size)
    model = pretraining_model(cfg).to(device)
    as_trained(model, batch, device, precision, compiled)
    views = [torch.randn(batch, 3, img_size, img_size, device=device)]
    views.append(random_images(batch, device, img_size))
    return train_step(model, cfg, views, masked_samples(batch, img_size), precision)


class GivenFeatures(FrozenTeacher):
    """A teacher whose features cost nothing: random, of CLIP's width."""

    def __init__(self) -> None:
        super().__init__(nn.Identity(), embed_dim=512, mean=127.5, std=127.5)

    def extract(self, pixels: Tensor) -> Tensor:
        """Random features ``(B, 512, 14, 14)``, the same every time."""
        generator = torch.Generator(pixels.device).manual_seed(0)
        shape = (pixels.shape[0], 512, 14, 14)
        return torch.randn(shape, device=pixels.device, generator=generator)


MODELS.register_module(module=GivenFeatures)


def vqkd_model(cfg: Config) -> VQKD:
    """Encoder, quantizer with a random codebook and decoder, without the cost of a teacher."""
    model = cfg.model
    model.teacher = dict(type='mmbeitv2.GivenFeatures')
    model.quantizer.kmeans_init = False
    built = MODELS.build(model)
    built.init_weights()
    return built.train()


def vqkd_step(batch: int, device: str, precision: str = 'float32', compiled: bool = False) -> Step:
    """Encode, quantize, decode, and update; the teacher's features are given."""
    cfg = load_config(TOKENIZER)
    model = vqkd_model(cfg).to(device)
    as_trained(model, batch, device, precision, compiled)
    return train_step(model, cfg, random_images(batch, device), None, precision)


def segmentation_backbone(size: int = 512) -> BEiTViT:
    """The backbone of the ADE20K runs; its relative biases are not zero."""
    arguments = load_config(SEGMENTATION).model.backbone
    del arguments['type']
    model = BEiTViT(**{**arguments, 'init_cfg': None, 'img_size': size, 'drop_path_rate': 0.0})
    model.init_weights()
    for block in model.blocks:
        nn.init.normal_(block.attn.relative_position_bias_table, std=0.02)
    return model.train()


def feature_step(model: nn.Module, images: Tensor, precision: str) -> Step:
    """Features of a backbone, their gradient for the mean square, and AdamW."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.05, fused=True)

    def step() -> None:
        with autocast(images.device.type, precision):
            loss = sum(feature.float().square().mean() for feature in model(images))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def segmentation_step(batch: int, device: str, precision: str = 'float32', size: int = 512) -> Step:
    """Train the segmentation backbone on one batch of crops."""
    model = segmentation_backbone(size).to(device)
    return feature_step(model, random_images(batch, device, size), precision)


STEPS = {
    'quantizer': quantizer_step,
    'tokenizing': tokenizing_step,
    'pretraining': pretraining_step,
    'vqkd': vqkd_step,
    'segmentation': segmentation_step,
}
COMPILED = ('tokenizing', 'pretraining', 'vqkd')


def built(name: str, args: argparse.Namespace) -> Step:
    """The step of that name, by a command line's batch, device, precision and ``compile``.

    Raises:
        InputError: one of which no layer is compiled.
    """
    if not args.compile:
        return STEPS[name](args.batch, args.device, args.precision)
    if name not in COMPILED:
        raise InputError(f'--compile is for {", ".join(COMPILED)}; {name} has no option for it')
    return STEPS[name](args.batch, args.device, args.precision, compiled=True)

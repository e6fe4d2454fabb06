"""Our steps, and those of others, recorded as a GPU would run them."""

import contextlib
import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import official
import steps
import torch
from fake_gpu import FakeGPU, cuda_autocast
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmpretrain.models.backbones.beit import BEiTTransformerEncoderLayer
from mmpretrain.registry import MODELS as MMPRETRAIN
from mmpretrain.structures import DataSample
from peers import MMPRETRAIN_PRETRAINING
from record import Recorder
from torch import Tensor, nn
from traffic import Operator

from mmbeitv2.launch.config import load_config
from mmbeitv2.models import VQKDTokenizer
from mmbeitv2.models.layers import Block
from mmbeitv2.models.vqkd import VQKDEncoder
from mmbeitv2.registry import MODELS

FINE_TUNING = 'mmbeitv2::finetune/beitv2_vit-b16_300e_in1k-224.py'
LAYERS = (Block, BEiTTransformerEncoderLayer)
CODES = 8192


@dataclass
class Recording:
    """A recorded step.

    Attributes:
        operators: in the order in which they ran.
        kept_bytes: of tensors that the forward pass leaves for the backward pass.
    """

    operators: list[Operator]
    kept_bytes: int


class TokenizerAsTrained(VQKDTokenizer):
    """The tokenizer in the precision of the step, both sides the same.

    Attributes:
        marked: makes the context of its work.
    """

    marked: Callable = contextlib.nullcontext

    def encode(self, images: Tensor, queries: Tensor | None = None):
        """As the parent's, under the autocast that is on."""
        return VQKDEncoder.encode(self, images, queries)

    def tokenize(self, images: Tensor) -> Tensor:
        """As the parent's."""
        with self.marked():
            return super().tokenize(images)

    def tokenize_at(self, images: Tensor, positions: Tensor) -> Tensor:
        """As the parent's."""
        with self.marked():
            return super().tokenize_at(images, positions)


class MMPretrainTokenizer(MMPRETRAIN.get('VQKD')):
    """mmpretrain's."""

    marked: Callable = contextlib.nullcontext

    def forward(self, *args, **kwargs) -> Tensor:
        """As the parent's."""
        with self.marked():
            return super().forward(*args, **kwargs)


class NoFeatures(steps.GivenFeatures):
    """Features that cost nothing, on a device that draws no random numbers."""

    def __init__(self) -> None:
        # Mean and spread are checked, so they need values.
        with torch.device('cpu'):
            super().__init__()

    def extract(self, pixels: Tensor) -> Tensor:
        """Zeros ``(B, 512, 14, 14)``."""
        return pixels.new_zeros(pixels.shape[0], 512, 14, 14)


MODELS.register_module(module=TokenizerAsTrained)
MODELS.register_module(module=NoFeatures)
MMPRETRAIN.register_module(module=MMPretrainTokenizer)


def build(cfg: dict, registry=MODELS) -> nn.Module:
    """A model in training mode; its weights have no values to initialise."""
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return registry.build(cfg).train()


def our_config() -> Config:
    """The base run's, the tokenizer in the precision of training."""
    cfg = steps.pretraining_config()
    cfg.model.target_generator.type = 'mmbeitv2.TokenizerAsTrained'
    return cfg


def pretraining(batch: int, samples: list[DataSample]) -> tuple[nn.Module, Config, Callable]:
    """Our base run: model, config, and a function that gives the losses.

    So do the functions below; ``samples`` hold the masks of the batch.
    """
    cfg = our_config()
    model = build(cfg.model)
    views = _views(batch)
    return model, cfg, lambda: model(views, samples, mode='loss')


def official_pretraining(
    batch: int, samples: list[DataSample]
) -> tuple[nn.Module, Config, Callable]:
    """The official structure on our weights."""
    cfg = our_config()
    model = official.use_plain_layers(build(cfg.model))
    views = _views(batch)
    return model, cfg, lambda: official.losses(model, views, samples)


def mmpretrain_pretraining(
    batch: int, samples: list[DataSample]
) -> tuple[nn.Module, Config, Callable]:
    """mmpretrain's model by its paper config, its tokenizer frozen as a user has to do by hand."""
    cfg = get_config(MMPRETRAIN_PRETRAINING)
    # Its codebook is set, as a trained tokenizer's.
    cfg.model.target_generator.update(type='MMPretrainTokenizer', quantize_kmeans_init=False)
    model = build(cfg.model, MMPRETRAIN)
    model.target_generator.requires_grad_(False).eval()
    views = _views(batch)

    def losses() -> dict:
        on_device = [copy.copy(sample).to('cuda') for sample in samples]
        return model(views, on_device, mode='loss')

    return model, cfg, losses


def vqkd(batch: int, samples: list[DataSample]) -> tuple[nn.Module, Config, Callable]:
    """Training of the tokenizer without the cost of a teacher."""
    cfg = load_config(steps.TOKENIZER)
    cfg.model.teacher = dict(type='mmbeitv2.NoFeatures')
    cfg.model.quantizer.kmeans_init = False
    model, images = build(cfg.model), torch.randn(batch, 3, 224, 224)
    # What the first batch is checked for is read back once.
    model.teacher.to('cuda')._checked = True
    return model, cfg, lambda: model(images, mode='loss')


def finetune(batch: int, samples: list[DataSample]) -> tuple[nn.Module, Config, Callable]:
    """Fine-tuning on ImageNet-1k with mixed labels."""
    cfg = load_config(FINE_TUNING)
    cfg.model.backbone.init_cfg = None
    model, images = build(cfg.model), torch.randn(batch, 3, 224, 224)
    labels = [DataSample(gt_score=torch.rand(1000)) for _ in range(batch)]
    return model, cfg, lambda: model.loss(images, labels)


def segmentation(batch: int, samples: list[DataSample]) -> tuple[nn.Module, Config, Callable]:
    """The segmentation backbone alone, as ``segmentation.py`` times it."""
    cfg = load_config(steps.SEGMENTATION)
    arguments = {k: v for k, v in cfg.model.backbone.items() if k not in ('type', 'init_cfg')}
    # One group of parameters, as there.
    for key in ('constructor', 'paramwise_cfg'):
        cfg.optim_wrapper.pop(key, None)
    model = steps.BEiTViT(**{**arguments, 'drop_path_rate': 0.0}).train()
    images = torch.randn(batch, 3, 512, 512)
    return (
        model,
        cfg,
        lambda: {'loss': sum(feature.float().square().mean() for feature in model(images))},
    )


def tokenizing(batch: int, samples: list[DataSample]) -> tuple[nn.Module, None, Callable]:
    """Codes of all patches; nothing is trained."""
    model = build(our_config().model.target_generator)
    images = torch.randn(batch, 3, 224, 224)
    return model, None, lambda: model.tokenize(images)


STEPS = dict(
    pretraining=pretraining,
    tokenizing=tokenizing,
    vqkd=vqkd,
    finetune=finetune,
    segmentation=segmentation,
)
CLASSES = dict(pretraining=CODES, vqkd=CODES, finetune=1000)


def _views(batch: int) -> list[Tensor]:
    return [torch.randn(batch, 3, 224, 224) for _ in range(2)]


def record(
    prepare: Callable,
    batch: int,
    precision: torch.dtype,
    compiled: bool = False,
    classes: int = -1,
) -> Recording:
    """Record one step.

    Args:
        prepare: one of the functions above.
        batch: images.
        precision: of autocast; float32 for none. float16 adds the unscaling of gradients.
        compiled: layers are told that they are compiled; see ``fusion.py``.
        classes: width of the logits.
    """
    recorder = Recorder('cuda', classes)
    # Masks lie on the CPU and have values.
    samples = steps.masked_samples(batch)
    picked = int(sum(sample.mask.sum() for sample in samples))
    gpu = FakeGPU(picked, recorder.on_backward)
    model, cfg, losses = gpu.build(lambda: prepare(batch, samples))
    recorder.mark_layers(model, LAYERS, compiled)
    for module in model.modules():
        if isinstance(module, TokenizerAsTrained | MMPretrainTokenizer):
            module.marked = partial(recorder.during, 'tokenizer')
    with warnings.catch_warnings():
        # A model that switches autocast on by itself would silently run in float32 here.
        warnings.filterwarnings('error', message='CUDA is not available')
        with gpu, recorder:
            with cuda_autocast(precision):
                found = losses()
            loss = None if cfg is None else sum(v for k, v in found.items() if 'loss' in k)
            kept = recorder.held_bytes
            if loss is not None:
                del found
                loss.backward()
        if loss is not None:
            with gpu:
                _update(model, cfg, recorder, precision)
    return Recording(recorder.operators, kept)


def _update(model: nn.Module, cfg: Config, recorder: Recorder, precision: torch.dtype) -> None:
    wrapper = steps.optimizer_wrapper(cfg, model, 'float32')
    optimizer, clip = wrapper.optimizer, cfg.optim_wrapper.get('clip_grad')
    for group in optimizer.param_groups:
        # What torch chooses on a GPU, by a type of tensor that tensors without values do not have.
        group['foreach'] = not group['fused']
    # The first step makes the optimiser's state.
    optimizer.step()
    learned = [p for group in optimizer.param_groups for p in group['params'] if p.grad is not None]
    with recorder, recorder.during('optimiser'):
        if precision is torch.float16:
            numbers = torch.zeros(2, device='cuda')
            torch._amp_foreach_non_finite_check_and_unscale_(
                [p.grad for p in learned], numbers[:1], numbers[1:]
            )
        if clip is not None:
            nn.utils.clip_grad_norm_(learned, **clip, foreach=True)
        optimizer.step()

"""Steps to record on a GPU that is not there: ours, mmpretrain's, the official structure's.

Every function takes ``batch`` (images) and ``samples`` (with the batch's masks), and gives the
model, its config (None where nothing is trained), and a function that makes the forward pass.
"""

import contextlib
import copy
from collections.abc import Callable

import official
import steps
import torch
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS as MMPRETRAIN
from mmpretrain.structures import DataSample
from peers import MMPRETRAIN_PRETRAINING
from torch import Tensor, nn

from mmbeitv2.launch.config import load_config
from mmbeitv2.models import VQKDTokenizer
from mmbeitv2.models.tokenizer import VQKDEncoder
from mmbeitv2.registry import MODELS

FINE_TUNING = 'mmbeitv2::finetune/beitv2_vit-b16_300e_in1k-224.py'
CODES = 8192


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
    """Our base run."""
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

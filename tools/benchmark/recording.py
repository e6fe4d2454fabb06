"""Record a whole training step as a GPU would run it."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import steps
import torch
from absent_gpu import FakeGPU
from cuda_autocast import cuda_autocast
from gpu_steps import MMPretrainTokenizer, TokenizerAsTrained
from mmengine.config import Config
from mmpretrain.models.backbones.beit import BEiTTransformerEncoderLayer
from record import Recorder
from torch import nn
from traffic import Operator

from mmbeitv2.models.layers import Block

# What is compiled, of ours and of mmpretrain.
LAYERS = (Block, BEiTTransformerEncoderLayer)


@dataclass
class Recording:
    """A recorded step.

    Attributes:
        operators: in the order in which they ran.
        kept_bytes: of tensors that the forward pass leaves for the backward pass.
    """

    operators: list[Operator]
    kept_bytes: int


def record(
    prepare: Callable,
    batch: int,
    precision: torch.dtype,
    compiled: bool = False,
    classes: int = -1,
    cudnn: bool = False,
) -> Recording:
    """Record one step.

    Args:
        prepare: one of the functions of ``gpu_steps.py``.
        batch: images.
        precision: of autocast; float32 for none. float16 adds the unscaling of gradients.
        compiled: layers are told that they are compiled; see ``fusion.py``.
        classes: width of the logits.
        cudnn: torch prefers cuDNN's attention on the card.
    """
    recorder = Recorder('cuda', classes)
    # Masks lie on the CPU and have values.
    samples = steps.masked_samples(batch)
    picked = int(sum(sample.mask.sum() for sample in samples))
    gpu = FakeGPU(picked, recorder.on_backward, cudnn)
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

"""Weight decay by a rule and learning rate by depth, in a few parameter groups."""

from collections import defaultdict
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from torch import nn

from mmbeitv2.errors import InputError
from mmbeitv2.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmbeitv2.torch_releases import HAS_FUSED_ON_CPU

NO_DECAY = ('cls_token', 'pos_embed')


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class OptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's, with an optimiser that is fused only where torch has that for the model's device.

    Before torch 2.4 CPUs have no fused AdamW, and ``fused=True`` is an error there.

    Args:
        optim_wrapper_cfg: config of the optimiser wrapper.
        paramwise_cfg: mmengine's options, such as ``custom_keys``.
    """

    optimizer_cfg: dict[str, Any]

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the wrapped optimiser of ``model``."""
        on_cpu = any(p.is_cpu for p in model.parameters())
        if self.optimizer_cfg.get('fused') and on_cpu and not HAS_FUSED_ON_CPU:
            self.optimizer_cfg = {**self.optimizer_cfg, 'fused': False}
            print_log(
                'the optimiser is not fused, and updates weights more slowly: on a CPU that needs '
                f'torch 2.4 or later, this is {torch.__version__}',
                logger='current',
            )
        return super().__call__(model)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(OptimWrapperConstructor):
    """Group parameters by learning-rate scale and weight decay.

    Not decayed are parameters of one dimension (biases, norms, layer scale) and those named in
    ``no_decay``; all others are. Works for any model with a ``backbone``, of mmpretrain or of
    mmsegmentation.

    Args:
        optim_wrapper_cfg: config of the optimiser wrapper.
        paramwise_cfg: ``layer_decay_rate`` (0 to 1; 1, the default, for the same rate everywhere):
            a parameter d depths below the head learns at this power d of the base rate; and
            ``no_decay``, last parts of parameter names, ``('cls_token', 'pos_embed')`` by default.

    Source: official ``optim_factory.get_parameter_groups``.
    """

    def __init__(
        self, optim_wrapper_cfg: dict[str, Any], paramwise_cfg: dict[str, Any] | None = None
    ) -> None:
        options = {'layer_decay_rate': 1.0, 'no_decay': NO_DECAY, **(paramwise_cfg or {})}
        unknown = set(options) - {'layer_decay_rate', 'no_decay'}
        if unknown:
            raise InputError(
                f'paramwise_cfg has {sorted(unknown)}, allowed: layer_decay_rate and no_decay.'
            )
        super().__init__(optim_wrapper_cfg, options)

    def add_params(self, params: list[dict[str, Any]], module: nn.Module, **kwargs: Any) -> None:
        """Fill ``params`` with the groups of ``module``'s trainable parameters."""
        rate = self.paramwise_cfg['layer_decay_rate']
        groups = defaultdict(list)
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                decayed = (
                    parameter.ndim > 1 and name.split('.')[-1] not in self.paramwise_cfg['no_decay']
                )
                groups[self._lr_scale(module, name, rate), decayed].append(parameter)
        for (scale, decayed), members in sorted(groups.items()):
            group = dict(params=members, lr=self.base_lr * scale)
            if self.base_wd is not None:
                group['weight_decay'] = self.base_wd if decayed else 0.0
            params.append(group)
        for decayed, label in ((True, 'decayed'), (False, 'not decayed')):
            chosen = [p for (_, d), members in groups.items() if d is decayed for p in members]
            print_log(
                f'{label}: {len(chosen)} tensors, {sum(p.numel() for p in chosen):,} parameters',
                logger='current',
            )
        print_log(f'{len(groups)} parameter groups', logger='current')

    @staticmethod
    def _lr_scale(model: nn.Module, name: str, rate: float) -> float:
        if rate == 1:
            return 1.0
        backbone: Any = model.backbone
        depth, num_depths = backbone.get_layer_depth(name, 'backbone.')
        return rate ** (num_depths - 1 - depth)

"""Train a model whose weights, gradients and optimiser state are spread over the processes."""

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from mmengine._strategy import FSDPStrategy
from mmengine.device import get_device
from mmengine.dist import get_world_size, is_distributed, is_main_process
from mmengine.utils import digit_version
from torch import Tensor, nn

from mmbeitv2.checkpoints.atomic import partial_file
from mmbeitv2.errors import InputError, NotInstalledError
from mmbeitv2.models.layers import Block
from mmbeitv2.registry import STRATEGIES


def _is_too_old() -> bool:
    return digit_version(torch.__version__) < digit_version('2.7')


if not _is_too_old():
    from torch.distributed import fsdp
    from torch.distributed import tensor as dtensor
    from torch.distributed.device_mesh import init_device_mesh


@STRATEGIES.register_module()
class ShardedStrategy(FSDPStrategy):
    """Fully sharded data parallelism, layer by layer; a strategy of mmengine's ``FlexibleRunner``.

    mmengine's ``FSDPStrategy`` uses torch's first implementation, which hands the optimiser
    flattened pieces: every parameter has one dimension, so that the rule for weight decay exempts
    them all, and each process clips gradients by the norm of its own pieces. With
    ``torch.distributed.fsdp.fully_shard`` parameters keep their shape and norms are of the whole.

    Frozen parameters, such as the tokenizer's, stay whole on every process. Checkpoints are those
    of an unsharded run, and each kind of run resumes the other's.

    Args:
        **kwargs: those that ``FlexibleRunner`` gives to every strategy.

    Raises:
        ImportError: with torch before 2.7.
        ValueError: in a run of one process without a launcher.
    """

    def __init__(self, **kwargs: Any) -> None:
        if _is_too_old():
            raise NotInstalledError(
                f'sharding needs torch 2.7 or later, this is {torch.__version__}: update torch, or '
                'remove strategy and runner_type'
            )
        super().__init__(state_dict_cfg='full', **kwargs)

    def _wrap_model(self, model: nn.Module) -> nn.Module:
        """Shard every Transformer layer on its own and the rest of the model as one."""
        if not is_distributed():
            raise InputError(
                'nothing to shard over: start the run with tools/dist_train.sh CONFIG GPUS, or '
                'leave runner_type and strategy out of the config'
            )
        options: dict[str, Any] = dict(
            mesh=init_device_mesh(get_device(), (get_world_size(),)),
            ignored_params={p for p in model.parameters() if not p.requires_grad},
        )
        for module in model.modules():
            if isinstance(module, Block) and any(p.requires_grad for p in module.parameters()):
                fsdp.fully_shard(module, **options)
        fsdp.fully_shard(model, **options)
        return model.to(get_device())

    def save_checkpoint(self, filename: str, **kwargs: Any) -> None:
        """Save as mmengine does, but so that no half file ever has the name; all must call."""
        if not is_main_process():
            super().save_checkpoint(filename, **kwargs)
            return
        with partial_file(filename) as partial:
            super().save_checkpoint(str(partial), **kwargs)

    def model_state_dict(self) -> dict[str, Tensor]:
        """Whole weights; empty on all processes but the first. All must call."""
        return _gather(self.model.state_dict())

    def optim_state_dict(self) -> dict[str, Any]:
        """State of the optimiser as an unsharded run has it; all processes must call."""
        state = self.optim_wrapper.state_dict()
        state['state'] = {index: _gather(values) for index, values in state['state'].items()}
        return state

    def load_model_state_dict(
        self,
        state_dict: dict[str, Tensor],
        *,
        strict: bool = False,
        revise_keys: Sequence[tuple[str, str]] = ((r'^module\.', ''),),
    ) -> None:
        """Load whole weights, the same on every process; mmengine logs what does not fit."""
        for pattern, replacement in revise_keys:
            state_dict = {re.sub(pattern, replacement, k): v for k, v in state_dict.items()}
        # mmengine sets an attribute, which a plain dictionary does not take.
        sharded = OrderedDict(_shard(state_dict, self.model.state_dict()))
        super(FSDPStrategy, self).load_model_state_dict(sharded, strict=strict, revise_keys=[])

    def load_optim_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load the state of a whole optimiser, the same on every process."""
        groups = self.optim_wrapper.optimizer.param_groups
        parameters = dict(enumerate(p for group in groups for p in group['params']))
        state_dict['state'] = {
            index: _shard(values, dict.fromkeys(values, parameters[index]))
            for index, values in state_dict['state'].items()
        }
        self.optim_wrapper.load_state_dict(state_dict)


def _gather(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Whole copies in the main memory of the first process, nothing on the others."""
    gathered = {}
    for name, value in values.items():
        whole = value.full_tensor() if isinstance(value, dtensor.DTensor) else value
        if is_main_process():
            gathered[name] = whole.cpu()
    return gathered


def _shard(values: dict[str, Tensor], like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give each tensor the placement of its namesake, if that has the same shape."""
    sharded = {}
    for name, value in values.items():
        target = like.get(name)
        if isinstance(target, dtensor.DTensor) and target.shape == value.shape:
            value = dtensor.distribute_tensor(value, target.device_mesh, target.placements)
        sharded[name] = value
    return sharded

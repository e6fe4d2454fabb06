"""Compile the layers of a model."""

import copy
import inspect
import math
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmbeitv2.errors import InputError, NotInstalledError
from mmbeitv2.models.layers import Block
from mmbeitv2.registry import HOOKS
from mmbeitv2.torch_releases import COMPILES_LAYERS

DEVICES = ('cuda', 'cpu', 'any', 'none')


def compile_layers(model: nn.Module, **kwargs: Any) -> int:
    """Compile every Transformer layer of a model in place, frozen ones too.

    The code is made in the first steps; names of parameters stay the same.

    Args:
        model: any model made of this project's layers.
        **kwargs: of ``torch.compile``.

    Returns:
        Number of layers.

    Raises:
        ImportError: torch before 2.4, whose compiler cuts a layer into pieces.
    """
    lacking = lacks()
    if lacking is not None:
        raise NotInstalledError(f'{lacking}: update torch, or leave the layers as they are.')
    blocks = _layers(model)
    # Each probability of dropping a branch is compiled by itself, for training, evaluation and a
    # last layer with queries. Torch would stop at 8 and run the other layers uncompiled; versions
    # that do not take its limit here do so, with a warning.
    if 'recompile_limit' in inspect.signature(torch.compile).parameters:
        kwargs.setdefault('recompile_limit', max(8, 4 * len(blocks)))
    for block in blocks:
        block.compile(**kwargs)
    return len(blocks)


def lacks() -> str | None:
    """What this torch lacks for compiled layers, or None."""
    if COMPILES_LAYERS:
        return None
    return f'compiled layers need torch 2.4 or later, this is {torch.__version__}'


def _layers(model: nn.Module) -> list[Block]:
    return [module for module in model.modules() if isinstance(module, Block)]


def compiler_error(model: nn.Module, **kwargs: Any) -> str | None:
    """Why this machine cannot compile a model's layers, or None where it can.

    A copy of the first layer makes one small training step. That takes seconds, where a missing
    compiler would otherwise end the run in its first step.

    Args:
        model: any model made of this project's layers.
        **kwargs: of ``torch.compile``.
    """
    block = copy.deepcopy(_layers(model)[0]).train()
    block.compile(**kwargs)
    grid = block.attn.grid or (1, 1)
    # Somebody's adapter may stand for any layer of it; this is always there.
    bias = block.attn.q_bias
    x = torch.zeros(2, 1 + math.prod(grid), len(bias), device=bias.device)
    try:
        block(x.requires_grad_(), grid).sum().backward()
    except Exception as error:  # torch, Triton and the system's compiler raise dozens of types
        # torch's first line names the backend that failed, its second why.
        return ' '.join([f'{type(error).__name__}:', *str(error).split('\n')[:2]])
    return None


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile every Transformer layer with ``torch.compile`` before training.

    Layers of one width and one probability of dropping share their code, so this takes seconds
    where a whole model takes minutes; stochastic depth makes every layer a case of its own.
    mmengine's own option ``compile`` covers the optimiser's step too, which torch refuses to
    compile for it. Names of parameters, and so checkpoints, stay the same. Where the machine has no
    compiler, a warning says so and the run goes on with layers as they are.

    Args:
        device: kind of device to compile on: ``'cuda'``, ``'cpu'``, ``'any'``, or ``'none'``. On
            CPUs training gains nothing, and keeps more memory.
        **kwargs: of ``torch.compile``.
    """

    def __init__(self, device: str = 'any', **kwargs: Any) -> None:
        if device not in DEVICES:
            raise InputError(f'device is {device!r}, allowed: {", ".join(DEVICES)}.')
        self.device = device
        self.kwargs = kwargs

    def before_train(self, runner: Runner) -> None:
        """Compile in place."""
        device = next(runner.model.parameters()).device.type
        if self.device not in ('any', device) or not _layers(runner.model):
            return
        lacking = lacks()
        if lacking is not None:
            runner.logger.warning(
                f'{lacking}: they stay as they are, and the run will be slower; update torch, or '
                "set device='none' of CompileHook to train without this warning."
            )
            return
        error = compiler_error(runner.model, **self.kwargs)
        if error is not None:
            runner.logger.warning(
                f'layers are not compiled, and the run will be slower: {error}. Install a C '
                'compiler and, for GPUs, the Triton that belongs to this torch; or set '
                "device='none' of CompileHook to train without this warning."
            )
            return
        layers = compile_layers(runner.model, **self.kwargs)
        runner.logger.info(f'{layers} layers are compiled in their first steps')

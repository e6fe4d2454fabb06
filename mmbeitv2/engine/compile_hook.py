"""Compile the layers of a model."""

import inspect

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmbeitv2.models.layers import Block
from mmbeitv2.registry import HOOKS


def compile_layers(model: nn.Module, **kwargs) -> int:
    """Compile every Transformer layer of a model in place, frozen ones too.

    The code is made in the first steps; names of parameters stay the same.

    Args:
        model: any model made of this project's layers.
        **kwargs: of ``torch.compile``.

    Returns:
        Number of layers.
    """
    blocks = [module for module in model.modules() if isinstance(module, Block)]
    # Each probability of dropping a branch is compiled by itself, for training, evaluation and a
    # last layer with queries. Torch would stop at 8 and run the other layers uncompiled; versions
    # that do not take its limit here do so, with a warning.
    if 'recompile_limit' in inspect.signature(torch.compile).parameters:
        kwargs.setdefault('recompile_limit', max(8, 4 * len(blocks)))
    for block in blocks:
        block.compile(**kwargs)
    return len(blocks)


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile every Transformer layer with ``torch.compile`` before training.

    Layers of one width and one probability of dropping share their code, so this takes seconds
    where a whole model takes minutes; stochastic depth makes every layer a case of its own.
    mmengine's own option ``compile`` covers the optimiser's step too, which torch refuses to
    compile for it. Names of parameters, and so checkpoints, stay the same.

    Args:
        **kwargs: of ``torch.compile``.
    """

    def __init__(self, **kwargs) -> None:
        self.kwargs = kwargs

    def before_train(self, runner: Runner) -> None:
        """Compile in place."""
        layers = compile_layers(runner.model, **self.kwargs)
        runner.logger.info(f'{layers} layers are compiled in their first steps')

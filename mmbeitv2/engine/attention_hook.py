"""Choose, on the card that a run has, how attention learns its bias."""

from importlib.util import find_spec

import torch
from mmengine.dist import broadcast
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmbeitv2.engine.optim_wrapper import MixedPrecisionOptimWrapper
from mmbeitv2.models.bias_gradient import DTYPES, WIDTHS, choose_kernels
from mmbeitv2.models.bias_gradient_trial import Trial, try_kernels
from mmbeitv2.models.vit import VisionTransformer
from mmbeitv2.registry import HOOKS
from mmbeitv2.torch_releases import HAS_OPERATORS


@HOOKS.register_module()
class AttentionTrialHook(Hook):
    """Before training on a GPU, try the kernels of ``bias_gradient`` against torch's own.

    They are taken where their gradients agree and they are faster, at the run's own sizes on its
    own card: whether they are depends on the card and on the releases of torch and cuDNN. The trial
    takes seconds. Whatever it finds is logged; where the kernels cannot be compiled, training goes
    on with torch's own.
    """

    def before_train(self, runner: Runner) -> None:
        """Try, choose, and say so."""
        choose_kernels(False)
        sizes = learned_bias_sizes(runner)
        if sizes is None:
            return
        lacking = lacks()
        if lacking is not None:
            runner.logger.info(f"attention's bias: torch's own gradient, {lacking}")
            return
        device = next(runner.model.parameters()).device
        try:
            trial = try_kernels(*sizes, runner.optim_wrapper.precision.dtype, device)
        except Exception as error:  # Triton, its compiler and the driver raise dozens of types
            first = str(error).strip().split('\n')[0]
            trial = None
            found = f'{type(error).__name__}: {first}'
        else:
            found = str(trial)
        chosen = same_on_all_ranks(trial, device)
        choose_kernels(chosen)
        way = 'the kernel of our own' if chosen else "torch's own gradient"
        log = runner.logger.info if trial is not None and trial.right else runner.logger.warning
        log(f"attention's bias: {way}; tried on this card: {found}")


def lacks() -> str | None:
    """Why the kernels cannot be had here, or None where they can be tried."""
    if not HAS_OPERATORS:
        return f'its kernel needs torch 2.4 or later, this is {torch.__version__}'
    return 'triton is not installed' if find_spec('triton') is None else None


def learned_bias_sizes(runner: Runner) -> tuple[int, int, int, int] | None:
    """Images, heads, tokens and width of a head of the attention whose bias a run learns on a GPU.

    None where there is none, or where the kernels do not serve its precision or width.
    """
    wrapper = runner.optim_wrapper
    if not isinstance(wrapper, MixedPrecisionOptimWrapper) or wrapper.precision.dtype not in DTYPES:
        return None
    sizes = learned_bias_sizes_of(runner.model)
    return None if sizes is None else (runner.train_dataloader.batch_size, *sizes)


def learned_bias_sizes_of(model: nn.Module) -> tuple[int, int, int] | None:
    """Heads, tokens and width of a head of the attention whose bias a model learns on a GPU.

    None where there is none, or where the kernels do not serve its width.
    """
    for module in model.modules():
        if not isinstance(module, VisionTransformer):
            continue
        tables = [p for n, p in module.named_parameters() if n.endswith('position_bias_table')]
        width = module.embed_dim // module.num_heads
        learns = any(table.requires_grad and table.is_cuda for table in tables)
        if learns and width in WIDTHS:
            return module.num_heads, 1 + module.grid[0] * module.grid[1], width
    return None


def same_on_all_ranks(trial: Trial | None, device: torch.device) -> bool:
    """The first rank's choice, since its card stands for all."""
    chosen = torch.tensor([trial is not None and trial.pays], dtype=torch.float32, device=device)
    broadcast(chosen)
    return bool(chosen.item())

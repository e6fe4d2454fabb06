"""Start the codebook well, and watch how much of it is used."""

from typing import Any

import torch
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from mmbeitv2.models.quantizer import NormEMAQuantizer, l2_normalize, perplexity
from mmbeitv2.models.vqkd import VQKD
from mmbeitv2.registry import HOOKS

# Of a checkpoint.
COUNTS = 'codebook_counts'


def _vqkd(runner: Runner) -> VQKD:
    return runner.model.module if is_model_wrapper(runner.model) else runner.model


@HOOKS.register_module()
class CodebookInitHook(Hook):
    """Before training, set the codebook by k-means over vectors of several batches and all ranks.

    One batch has about as many vectors as there are codes, too few for k-means to move any centre.
    A resumed run keeps its codebook.

    Args:
        vectors_per_code: vectors wanted over the number of codes; fewer where the data have fewer.

    Raises:
        ValueError: the data give fewer vectors than codes; raised before the first step.
    """

    def __init__(self, vectors_per_code: int = 8) -> None:
        self.vectors_per_code = vectors_per_code

    @torch.no_grad()
    def before_train(self, runner: Runner) -> None:
        """Encode batches until there are enough vectors, then cluster them."""
        model = _vqkd(runner)
        quantizer: NormEMAQuantizer = model.quantize
        if quantizer.initted:
            return
        wanted = -(-self.vectors_per_code * quantizer.num_codes // get_world_size())
        vectors, count = [], 0
        model.eval()
        for batch in runner.train_dataloader:
            z, _ = model.encode(model.data_preprocessor(batch)['inputs'])
            vectors.append(l2_normalize(z.flatten(0, 1)))
            count += vectors[-1].shape[0]
            if count >= wanted:
                break
        model.train()
        quantizer.init_codebook(torch.cat(vectors)[:wanted])
        runner.logger.info(
            f'codebook: k-means of {get_world_size() * min(count, wanted):,} vectors into '
            f'{quantizer.num_codes:,} codes'
        )


@HOOKS.register_module()
class CodebookUsageHook(Hook):
    """Log usage and perplexity of the codebook over each epoch, and warn of a collapse.

    A code counts as used if one patch of the epoch chose it, so that usage alone may be 100 % while
    nearly all patches share a few codes.

    Args:
        warn_below: share of used codes, 0 to 1, under which a warning is logged.
        warn_perplexity_below: the same of the perplexity over the number of codes.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, warn_below: float = 0.3, warn_perplexity_below: float = 0.1) -> None:
        self.warn_below = warn_below
        self.warn_perplexity_below = warn_perplexity_below
        self._counts: Tensor | None = None

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the counts of an epoch that may be under way."""
        checkpoint[COUNTS] = _vqkd(runner).quantize.code_counts.cpu()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember them."""
        self._counts = checkpoint.pop(COUNTS, None)

    def before_train_epoch(self, runner: Runner) -> None:
        """Start counting anew, or go on in an epoch that was interrupted."""
        counts = _vqkd(runner).quantize.code_counts
        within = runner.iter > runner.epoch * (runner.max_iters // runner.max_epochs)
        if within and self._counts is not None:
            counts.copy_(self._counts)
        else:
            counts.zero_()
        self._counts = None

    def after_train_epoch(self, runner: Runner) -> None:
        """Log ``codebook_usage`` (0 to 1) and ``codebook_perplexity`` (1 to K)."""
        quantizer = _vqkd(runner).quantize
        counts = quantizer.code_counts
        usage = (counts > 0).float().mean().item()
        spread = perplexity(counts).item()
        runner.visualizer.add_scalars(
            dict(codebook_usage=usage, codebook_perplexity=spread), step=runner.iter
        )
        runner.logger.info(
            f'codebook: {usage:.1%} of {counts.numel():,} codes used this epoch, '
            f'perplexity {spread:.1f}'
        )
        if usage < self.warn_below:
            found = f'only {usage:.1%} of its codes are used'
        elif spread < self.warn_perplexity_below * counts.numel():
            found = (
                f'{usage:.1%} of its codes are used, but as unevenly as if there were {spread:.1f}'
            )
        else:
            return
        runner.logger.warning(f'the codebook is collapsing: {found}. {_cure(quantizer)}')


def _cure(quantizer: NormEMAQuantizer) -> str:
    below = quantizer.revive_below
    revive = (
        'set revive_below of the quantizer, so that dead codes start anew (0.1 to 1)'
        if below is None
        else f'raise revive_below above today’s {below:g}, so that more of the rare codes start '
        'anew'
    )
    return (
        f'Try fewer codes (num_codes), a shallower decoder, or a lower learning rate; or {revive}.'
    )

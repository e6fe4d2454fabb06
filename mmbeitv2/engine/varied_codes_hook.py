"""Stop pretraining on a tokenizer that gives all patches one code."""

from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmbeitv2.engine.deferred_scalars import HostCopy
from mmbeitv2.errors import InputError
from mmbeitv2.models.tokenizer import VQKDTokenizer
from mmbeitv2.registry import HOOKS
from mmbeitv2.torch_releases import aminmax

# A single small batch may happen to show one thing only.
STEPS = 10


@HOOKS.register_module()
class VariedCodesHook(Hook):
    """Compare the tokenizer's codes of the first ten batches; they must not all be the same.

    A student soon predicts one and the same code without error, and learns nothing. The smallest
    and the largest code are kept on the device, and read once the host has them without waiting.
    Batches of blank images say nothing of the tokenizer.

    Raises:
        ValueError: all patches have one code.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._codes: list[Tensor] = []
        self._pixels: list[Tensor] = []
        self._verdict: HostCopy | None = None

    def before_train(self, runner: Runner) -> None:
        """Look at what goes into the tokenizer and what comes out of it."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        tokenizer = getattr(model, 'target_generator', None)
        if not isinstance(tokenizer, VQKDTokenizer):
            return
        self._handles = [
            tokenizer.encoder.patch_embed.register_forward_pre_hook(self._see_images),
            tokenizer.quantize.register_forward_hook(self._see_codes),
        ]

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Judge after the tenth batch, without waiting."""
        self._steps += 1
        if self._steps == STEPS:
            self._send_verdict()
        if self._verdict is not None and self._verdict.arrived():
            self._judge()

    def after_train(self, runner: Runner) -> None:
        """Judge a run of fewer batches."""
        self._send_verdict()
        self._judge()

    def _see_images(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self._pixels.append(torch.stack(aminmax(inputs[0].detach())))

    def _see_codes(
        self, module: nn.Module, inputs: tuple[Any, ...], outputs: tuple[Any, ...]
    ) -> None:
        self._codes.append(torch.stack(outputs[1].aminmax()))

    def _send_verdict(self) -> None:
        """Let the one code of all patches of varied images follow to the host, or else −1."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self._codes and self._pixels:
            low, high = torch.stack(self._codes).aminmax()
            darkest, brightest = aminmax(torch.stack(self._pixels))
            constant = (low == high) & (darkest != brightest)
            self._verdict = HostCopy(torch.where(constant, low, -1))
        self._codes, self._pixels = [], []

    def _judge(self) -> None:
        verdict, self._verdict = self._verdict, None
        code = -1 if verdict is None else int(verdict.read())
        if code >= 0:
            raise InputError(
                f'the tokenizer gives code {code} to every patch of the first '
                f'{min(self._steps, STEPS)} batches: nothing can be learned from it. Train it '
                'again until its log shows a codebook_usage near 1, or set '
                'target_generator.init_cfg to another tokenizer; its images are RGB in [−1, 1].'
            )

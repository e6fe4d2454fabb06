"""Stop pretraining on a tokenizer that gives all patches one code."""

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor, nn

from mmbeitv2.errors import InputError
from mmbeitv2.models.vqkd import VQKDTokenizer
from mmbeitv2.registry import HOOKS

# A single small batch may happen to show one thing only.
STEPS = 10


@HOOKS.register_module()
class VariedCodesHook(Hook):
    """Compare the tokenizer's codes of the first ten batches; they must not all be the same.

    A student soon predicts one and the same code without error, and learns nothing. The smallest
    and the largest code are kept on the device and read once, after the tenth batch. Batches of
    blank images say nothing of the tokenizer.

    Raises:
        ValueError: all patches have one code.
    """

    def __init__(self) -> None:
        self._steps = 0
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._codes: list[Tensor] = []
        self._pixels: list[Tensor] = []

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
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Judge after the tenth batch."""
        self._steps += 1
        if self._steps == STEPS:
            self._judge()

    def after_train(self, runner: Runner) -> None:
        """Judge a run of fewer batches."""
        self._judge()

    def _see_images(self, module: nn.Module, inputs: tuple) -> None:
        self._pixels.append(torch.stack(inputs[0].detach().aminmax()))

    def _see_codes(self, module: nn.Module, inputs: tuple, outputs: tuple) -> None:
        self._codes.append(torch.stack(outputs[1].aminmax()))

    def _judge(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []
        codes, pixels = self._codes, self._pixels
        self._codes, self._pixels = [], []
        if not codes or not pixels:
            return
        low, high = torch.stack(codes).aminmax()
        darkest, brightest = torch.stack(pixels).aminmax()
        if low.item() == high.item() and darkest.item() != brightest.item():
            raise InputError(
                f'the tokenizer gives code {low.item()} to every patch of the first {len(codes)} '
                'batches: nothing can be learned from it. Train it again until its log shows a '
                'codebook_usage near 1, or set target_generator.init_cfg to another tokenizer; '
                'tokenizer images are RGB in [−1, 1].'
            )

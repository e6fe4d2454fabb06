"""Image classifier on a feature vector, exact under mixed precision."""

from typing import Any

from mmpretrain.models.heads import LinearClsHead as MMPretrainLinearClsHead
from torch import Tensor

from mmbeitv2.checks import check_count
from mmbeitv2.models.float32 import in_float32
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class LinearClsHead(MMPretrainLinearClsHead):
    """mmpretrain's linear classifier, its logits, losses and scores in float32 under autocast.

    In bfloat16 a logit has three significant digits: of a thousand random ones the best is equal to
    another and stands behind it once in a hundred images (in float16 once in a thousand). On CPUs
    autocast leaves softmax in bfloat16, too. The product is a hundred-thousandth of a ViT's.

    Args:
        num_classes: number of classes.
        in_channels: width of the feature.
        **kwargs: of mmpretrain's ``LinearClsHead``.

    Raises:
        ValueError: a number that is no whole one from 1 on.
    """

    def __init__(self, num_classes: int, in_channels: int, **kwargs: Any) -> None:
        for name, value in (('num_classes', num_classes), ('in_channels', in_channels)):
            check_count(self, name, value, 1000)
        super().__init__(num_classes, in_channels, **kwargs)

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Logits float32 ``(B, num_classes)`` of the last feature ``(B, in_channels)``."""
        return in_float32(self.fc, self.pre_logits(feats))

"""Image classifier on a feature vector, exact under mixed precision."""

from mmpretrain.models.heads import LinearClsHead as MMPretrainLinearClsHead
from torch import Tensor

from mmbeitv2.models.float32 import in_float32
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class LinearClsHead(MMPretrainLinearClsHead):
    """mmpretrain's linear classifier, its logits, losses and scores in float32 under autocast.

    In bfloat16 a logit has three significant digits: of a thousand random ones the best is equal to
    another and stands behind it once in a hundred images (in float16 once in a thousand). On CPUs
    autocast leaves softmax in bfloat16, too. The product is a hundred-thousandth of a ViT's.
    """

    def forward(self, feats: tuple[Tensor, ...]) -> Tensor:
        """Logits float32 ``(B, num_classes)`` of the last feature ``(B, in_channels)``."""
        return in_float32(self.fc, self.pre_logits(feats))

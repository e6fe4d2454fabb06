"""mmsegmentation's heads of UperNet, exact under mixed precision.

Not imported with the other models, since only segmentation needs mmsegmentation: configs name this
module in ``custom_imports``.
"""

from mmseg.models.decode_heads import FCNHead as MMSegFCNHead
from mmseg.models.decode_heads import UPerHead as MMSegUPerHead
from mmseg.models.decode_heads.decode_head import BaseDecodeHead
from torch import Tensor

from mmbeitv2.models.float32 import in_float32
from mmbeitv2.registry import MODELS


class _Float32Logits(BaseDecodeHead):
    """A head that classifies every pixel in float32 under autocast too.

    Logits are enlarged to the image's size and compared afterwards. In bfloat16, of three
    significant digits, the best of 150 classes is often equal to another.
    """

    def cls_seg(self, feat: Tensor) -> Tensor:
        """Logits float32 ``(B, num_classes, H, W)`` of features ``(B, channels, H, W)``."""
        return in_float32(super().cls_seg, feat, self.conv_seg)


@MODELS.register_module()
class UPerHead(_Float32Logits, MMSegUPerHead):
    """mmsegmentation's ``UPerHead``, its logits in float32."""


@MODELS.register_module()
class FCNHead(_Float32Logits, MMSegFCNHead):
    """mmsegmentation's ``FCNHead``, its logits in float32."""

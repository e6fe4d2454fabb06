"""Prediction of visual tokens at masked positions (Eq. 3)."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbeitv2.models.layers import init_layer_
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class MIMHead(BaseModule):
    """Linear classifier over the K codes.

    Args:
        embed_dim: width C of a token.
        num_codes: K, the tokenizer's codebook size.
        shared: one weight for the last layer's and for the aggregated tokens; otherwise two.
    """

    def __init__(self, embed_dim: int = 768, num_codes: int = 8192, shared: bool = True) -> None:
        super().__init__()
        self.num_codes = num_codes
        self.lm_head = nn.Linear(embed_dim, num_codes)
        self.cls_pt_lm_head = None if shared else nn.Linear(embed_dim, num_codes)

    def init_weights(self) -> None:
        """Truncated normal weights, zero biases."""
        self.apply(init_layer_)
        self._is_init = True

    def forward(self, tokens: Tensor, aggregated: bool = False) -> Tensor:
        """Logits ``(…, K)`` of normalised tokens ``(…, C)``.

        Args:
            tokens: float, masked positions only.
            aggregated: tokens come from the patch-aggregation branch.
        """
        head = self.cls_pt_lm_head if aggregated and self.cls_pt_lm_head else self.lm_head
        return head(tokens)

    def loss(self, logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 3: mean negative log-likelihood of the codes, and the accuracy.

        Args:
            logits: float ``(B, M, K)``.
            codes: int64 ``(B, M)`` in 0 … K − 1.

        Returns:
            float32 scalars: loss ≥ 0 and accuracy, 0 to 1.
        """
        logits, codes = logits.flatten(0, -2).float(), codes.flatten()
        return F.cross_entropy(logits, codes), (logits.argmax(-1) == codes).float().mean()

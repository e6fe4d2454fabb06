"""Prediction of visual tokens at masked positions (Eq. 3)."""

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmbeitv2.checks import check_count, check_flag
from mmbeitv2.models.layers import init_layer_
from mmbeitv2.models.linear_cross_entropy import linear_cross_entropy
from mmbeitv2.models.shortcuts import can_bypass, can_differentiate
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class MIMHead(BaseModule):
    """Linear classifier over the K codes.

    Args:
        embed_dim: width C of a token.
        num_codes: K, the tokenizer's codebook size.
        shared: one weight for the last layer's and for the aggregated tokens; otherwise two.

    Raises:
        ValueError: an argument of another type or out of range.
    """

    def __init__(self, embed_dim: int = 768, num_codes: int = 8192, shared: bool = True) -> None:
        super().__init__()
        check_count(self, 'embed_dim', embed_dim, 768)
        check_count(self, 'num_codes', num_codes, 8192, least=2)
        check_flag(self, 'shared', shared)
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
        return self._classifier(aggregated)(tokens)

    def loss_of_tokens(
        self, tokens: Tensor, codes: Tensor, aggregated: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Eq. 3: ``self.loss(self(tokens, aggregated), codes)``, without logits that exist whole.

        Where others have put layers or hooks in the way of the logits, these are computed.

        Args:
            tokens: float ``(B, M, C)``, normalised, masked positions only.
            codes: int64 ``(B, M)`` in 0 … K − 1.
            aggregated: tokens come from the patch-aggregation branch.

        Returns:
            float32 scalars: loss ≥ 0 and accuracy, 0 to 1.
        """
        classifier = self._classifier(aggregated)
        if self._is_plain() and can_bypass(classifier):
            return linear_cross_entropy(tokens, classifier.weight, classifier.bias, codes)
        return self.loss(self(tokens, aggregated), codes)

    def _classifier(self, aggregated: bool) -> nn.Linear:
        # By default one for both: the paper finds that better than two (section 3.4).
        return self.cls_pt_lm_head if aggregated and self.cls_pt_lm_head else self.lm_head

    def _is_plain(self) -> bool:
        """Whether neither a subclass nor anybody else does something of its own with the logits.

        ``torch.compile`` fuses by itself.
        """
        own = type(self)
        as_here = (own.forward, own.loss) == (MIMHead.forward, MIMHead.loss)
        return as_here and can_bypass(self, kinds=(own,)) and can_differentiate(self)

    def loss(self, logits: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 3: mean negative log-likelihood of the codes, and the accuracy, of given logits.

        Args:
            logits: float ``(B, M, K)``.
            codes: int64 ``(B, M)`` in 0 … K − 1.

        Returns:
            float32 scalars: loss ≥ 0 and accuracy, 0 to 1.
        """
        logits, codes = logits.flatten(0, -2).float(), codes.flatten()
        return F.cross_entropy(logits, codes), (logits.argmax(-1) == codes).float().mean()

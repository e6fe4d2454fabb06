"""A ViT of timm as a backbone: the teachers themselves are fine-tuned with it (Table 6)."""

from pathlib import Path
from typing import Any

import timm
from mmengine.model import BaseModule
from torch import Tensor

from mmbeitv2.checks import check_count, check_flag, check_probability
from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class TimmViT(BaseModule):
    """Backbone: the mean of a plain ViT's patch tokens, normalised, as BEiT v2 is fine-tuned.

    Args:
        model: name in ``timm.list_pretrained()`` of a plain ViT, such as
            ``vit_base_patch16_224.dino``.
        pretrained: start from timm's weights, downloaded at first use, when training begins.
        checkpoint: local copy of the weight file, instead of a download.
        img_size: side of the images in pixels.
        drop_path_rate: probability of dropping a branch in the last layer, growing linearly from 0.

    Raises:
        ValueError: a network that is no plain ViT.
        FileNotFoundError: ``checkpoint`` does not exist.
    """

    def __init__(
        self,
        model: str,
        pretrained: bool = True,
        checkpoint: str | None = None,
        img_size: int = 224,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        check_count(self, 'img_size', img_size, 224)
        check_probability(self, 'drop_path_rate', drop_path_rate)
        check_flag(self, 'pretrained', pretrained)
        if not isinstance(model, str) or model.partition('.')[0] not in timm.list_models(
            module='vision_transformer'
        ):
            raise InputError(
                f'model={model!r} is not a plain ViT of timm: choose one of '
                "timm.list_models(module='vision_transformer')."
            )
        if checkpoint is not None and not (
            isinstance(checkpoint, str | Path) and Path(checkpoint).is_file()
        ):
            raise MissingFileError(f'no weight file at {checkpoint}: check the path.')
        self.pretrained = pretrained
        self._arguments: dict[str, Any] = dict(
            model_name=model,
            num_classes=0,
            global_pool='avg',
            img_size=img_size,
            drop_path_rate=drop_path_rate,
            pretrained_cfg_overlay=None if checkpoint is None else dict(file=checkpoint),
        )
        self.network: Any = timm.create_model(**self._arguments)

    def init_weights(self) -> None:
        """Load timm's weights; the norm after the pooling is new."""
        if self.pretrained:
            weights = timm.create_model(**self._arguments, pretrained=True).state_dict()
            self.network.load_state_dict(weights)
        self._is_init = True

    def forward(self, images: Tensor) -> tuple[Tensor]:
        """Feature float ``(B, C)`` of ``images`` (float ``(B, 3, H, W)``), in a tuple."""
        return (self.network(images),)

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """Depth of a parameter and number of depths; see :meth:`BEiTViT.get_layer_depth`."""
        num_depths = len(self.network.blocks) + 2
        prefix = f'{prefix}network.'
        if not param_name.startswith(prefix):
            return num_depths - 1, num_depths
        parts = param_name[len(prefix) :].split('.')
        if parts[0] in ('cls_token', 'pos_embed', 'patch_embed', 'norm_pre'):
            return 0, num_depths
        if parts[0] == 'blocks':
            return int(parts[1]) + 1, num_depths
        return num_depths - 1, num_depths

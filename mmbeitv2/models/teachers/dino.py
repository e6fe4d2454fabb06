"""DINO's vision Transformers as teachers."""

import timm
from torch import Tensor

from mmbeitv2.checkpoints.reading import WEIGHT_KEYS
from mmbeitv2.errors import InputError
from mmbeitv2.models.teachers.timm import TimmTeacher
from mmbeitv2.registry import MODELS


@MODELS.register_module()
class DINOTeacher(TimmTeacher):
    """DINO's final patch tokens after the last LayerNorm; 768 channels for ViT-B/16.

    Source: paper section 2.2 and the DINO row of its ablation. Its position embedding is
    interpolated for images of another size than it was trained at.

    Args:
        model: name of a plain ViT in ``timm.list_models()``, with timm's weight tag.
        checkpoint: weight file: timm's, the official backbone release, or a state dict of its
            whole teacher (``backbone.`` and ``head.``, the projection head is dropped); path,
            URL or ``package://MODULE/FILE``. None downloads timm's copy at first use.
        image_size: side in pixels to which images are resized first; None keeps their size.
        mean: in 0..255 units; default: what the weights were trained with.
        std: in 0..255 units; default likewise.
        trust: open a file that holds Python objects beside weights, which can run any code.

    Raises:
        ValueError: if the model or the file does not fit.
        FileNotFoundError: if ``checkpoint`` does not exist.
        FileNotFoundError: if no file is given and the weights can be neither found nor downloaded.
    """

    weight_keys = ('teacher', *WEIGHT_KEYS)

    def __init__(
        self,
        model: str = 'vit_base_patch16_224.dino',
        checkpoint: str | None = None,
        image_size: int | None = None,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        trust: bool = False,
    ) -> None:
        base = model.partition('.')[0] if isinstance(model, str) else model
        if base in set(timm.list_models()) - set(timm.list_models(module='vision_transformer')):
            raise InputError(
                f'model={model!r} is not a plain ViT of timm: DINOTeacher takes models such as '
                'vit_base_patch16_224.dino; use TimmTeacher for other networks'
            )
        super().__init__(
            model,
            checkpoint,
            out_index=-1,
            image_size=image_size,
            mean=mean,
            std=std,
            model_args={'num_classes': 0, 'dynamic_img_size': True},
            trust=trust,
        )

    @staticmethod
    def _select_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        weights = {
            name.removeprefix('module.').removeprefix('backbone.'): value
            for name, value in weights.items()
        }
        return {name: value for name, value in weights.items() if not name.startswith('head.')}

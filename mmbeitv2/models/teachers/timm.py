"""Any timm network with a feature grid as a teacher."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import PatchEmbed
from timm.models import FeatureInfo
from torch import Tensor, nn

from mmbeitv2.checkpoints.reading import WEIGHT_KEYS, read_state_dict
from mmbeitv2.checks import is_count, refuse
from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.models.teachers.base import (
    FrozenTeacher,
    check_image_size,
    check_model_name,
    first_line,
)
from mmbeitv2.models.teachers.weights import load_weights
from mmbeitv2.registry import MODELS

# The stride of the paper's patches: coarser features would only be blurred onto the student's grid.
MAX_DEFAULT_STRIDE = 16


@MODELS.register_module()
class TimmTeacher(FrozenTeacher):
    """Feature map of one level of a timm network; after the final norm where it is a ViT.

    Args:
        model: name in ``timm.list_models()``, with or without a weight tag
            (``timm.list_pretrained()``).
        checkpoint: weight file of the whole network, its classifier included (a network without
            one: ``model_args=dict(num_classes=0)``); path, URL or ``package://MODULE/FILE``. If its
            names are not timm's, it is loaded by order where every shape agrees. None downloads
            timm's weights at first use.
        out_index: level of ``timm.models.FeatureInfo``, negative from the end; default: the last
            level whose stride is at most 16.
        image_size: side in pixels to which images are resized first, and to which a network of
            fixed input size is set; None keeps their size.
        mean: in 0..255 units; default: from timm's ``pretrained_cfg``.
        std: in 0..255 units; default likewise.
        model_args: further arguments of ``timm.create_model``.
        trust: open a file that holds Python objects beside weights, which can run any code.

    Raises:
        ValueError: if the model, the level or the file does not fit.
        FileNotFoundError: if ``checkpoint`` does not exist.
        FileNotFoundError: if no file is given and the weights can be neither found nor downloaded.
    """

    # Where weights lie in a file.
    weight_keys: tuple[str, ...] = WEIGHT_KEYS

    def __init__(
        self,
        model: str = 'tf_efficientnet_lite0',
        checkpoint: str | None = None,
        out_index: int | None = None,
        image_size: int | None = None,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
        model_args: dict[str, Any] | None = None,
        trust: bool = False,
    ) -> None:
        check_image_size(image_size)
        if model_args is not None and not isinstance(model_args, Mapping):
            raise refuse(self, 'model_args', model_args, 'dict(...) of timm.create_model, or None')
        if checkpoint is not None and not isinstance(checkpoint, str | Path):
            raise refuse(
                self, 'checkpoint', checkpoint, 'the path or URL of a weight file, or None'
            )
        _check_name(model, needs_tag=checkpoint is None)
        model_args = model_args or {}
        if checkpoint is None:
            network: Any = _download(model, model_args)
        else:
            network = timm.create_model(model, **model_args)
            weights = read_state_dict(checkpoint, trust, self.weight_keys)
            load_weights(network, self._select_weights(weights), checkpoint)
        if not hasattr(network, 'forward_intermediates') or not hasattr(network, 'feature_info'):
            raise InputError(
                f'model={model!r} offers no feature grid (timm: forward_intermediates): choose '
                'another network, such as a ResNet, an EfficientNet or a ViT'
            )
        if image_size is not None and _has_fixed_size(network):
            network.set_input_size(img_size=(image_size, image_size))
        level = _level(model, network, out_index)
        config = network.pretrained_cfg
        super().__init__(
            # Convolutions run faster in this layout, on CPU about 1.5 times.
            network.to(memory_format=torch.channels_last),
            embed_dim=FeatureInfo(network.feature_info, (level,)).channels(level),
            mean=[255 * value for value in config['mean']] if mean is None else mean,
            std=[255 * value for value in config['std']] if std is None else std,
            image_size=image_size,
        )
        self.out_index = level

    @staticmethod
    def _select_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
        return weights

    def extract(self, pixels: Tensor) -> Tensor:
        network: Any = self.model
        _check_size(network, pixels.shape[-2:])
        (features,) = network.forward_intermediates(
            pixels.contiguous(memory_format=torch.channels_last),
            indices=[self.out_index],
            norm=True,
            stop_early=True,
            output_fmt='NCHW',
            intermediates_only=True,
        )
        return features


def _check_name(name: str, needs_tag: bool) -> None:
    base, _, tag = name.partition('.') if isinstance(name, str) else (name, '', '')
    check_model_name(base, timm.list_models(), 'timm.list_models()')
    tagged = timm.list_pretrained(f'{base}.*') + timm.list_pretrained(base)
    if (tag and name not in tagged) or (needs_tag and not tagged):
        raise InputError(
            f'timm has no weights for the teacher model={name!r}; it has some for: '
            f'{", ".join(tagged) or "no tag of this network"}. Choose one of them, or give the '
            'name without a tag and set checkpoint to a file'
        )


def _download(name: str, model_args: dict[str, Any]) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=True, **model_args)
    except Exception as error:  # network clients share no exception type
        config: Any = timm.get_pretrained_cfg(name)
        source = config.hf_hub_id or 'the timm release'
        raise MissingFileError(
            f'the weights of the teacher model={name!r} could not be downloaded: '
            f'{first_line(error)}. Without a network, place a copy of the weight file of {source} '
            "(model.safetensors) on this machine and set checkpoint='PATH/model.safetensors'"
        ) from error


def _level(name: str, network: Any, out_index: int | None) -> int:
    strides = [level['reduction'] for level in network.feature_info]
    if out_index is not None:
        if not is_count(out_index, least=-len(strides)) or out_index >= len(strides):
            raise InputError(
                f'out_index={out_index!r} is not a level of {name!r}: pass -{len(strides)} to '
                f'{len(strides) - 1}; strides by level: {strides}'
            )
        return out_index % len(strides)
    fine = [index for index, stride in enumerate(strides) if stride <= MAX_DEFAULT_STRIDE]
    if not fine:
        raise InputError(
            f'model={name!r} has no level of stride at most {MAX_DEFAULT_STRIDE}: set out_index; '
            f'strides by level: {strides}'
        )
    return fine[-1]


def _has_fixed_size(network: nn.Module) -> bool:
    embedding = getattr(network, 'patch_embed', None)
    return (
        isinstance(embedding, PatchEmbed)
        and embedding.img_size is not None
        and embedding.strict_img_size
    )


def _check_size(network: nn.Module, size: Sequence[int]) -> None:
    embedding: Any = getattr(network, 'patch_embed', None)
    if _has_fixed_size(network) and tuple(size) != tuple(embedding.img_size):
        raise InputError(
            f'images of {size[0]}×{size[1]} pixels, but this teacher takes '
            f'{embedding.img_size[0]}×{embedding.img_size[1]}: set image_size, to which images and '
            'position embedding are resized'
        )
    if not isinstance(embedding, PatchEmbed) or embedding.dynamic_img_pad:
        return
    rows, columns = embedding.patch_size
    if size[0] % rows or size[1] % columns:
        raise InputError(
            f'images of {size[0]}×{size[1]} pixels do not divide into patches of {rows}×{columns}: '
            f'set image_size to a multiple of {rows}'
        )

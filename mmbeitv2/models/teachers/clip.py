"""CLIP image towers of open_clip as teachers."""

import logging
from pathlib import Path
from typing import Any

import open_clip
import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from open_clip.transformer import VisionTransformer
from torch import Tensor, nn

from mmbeitv2.checkpoints.soundness import check_numbers
from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.models.teachers.base import (
    FrozenTeacher,
    check_image_size,
    check_model_name,
    first_line,
)
from mmbeitv2.registry import MODELS


class _ProjectedPatchTokens(nn.Module):
    """Image tower whose output is the patch tokens after ``ln_post`` and the projection.

    Args:
        visual: open_clip's image tower; [CLS] goes through the same norm and projection.
    """

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        self.visual = visual

    def forward(self, pixels: Tensor) -> Tensor:
        output = self.visual.forward_intermediates(
            pixels, indices=1, normalize_intermediates=True, intermediates_only=True
        )
        (tokens,) = output['image_intermediates']
        return torch.einsum('bchw,cd->bdhw', tokens, self.visual.proj)


@MODELS.register_module()
class CLIPTeacher(FrozenTeacher):
    """CLIP's final patch tokens, without [CLS], after ``ln_post`` and the projection.

    Source: paper section 2.2, the default teacher; 512 channels for ViT-B/16. Its position
    embedding is interpolated for images of another size than it was trained at.

    Args:
        model: name in ``open_clip.list_models()`` of a model with a ViT image tower.
        pretrained: a tag in ``open_clip.list_pretrained_tags_by_model(model)``, downloaded at first
            use, or the path of a local state dict of the whole model (.pt, .bin, .safetensors). A
            tag brings its activation with it; a file cannot, and OpenAI's weights need QuickGELU:
            with a local copy of them use the model name ``ViT-B-16-quickgelu``.
        image_size: side in pixels to which images are resized first; None keeps their size.
        mean: in 0..255 units; default: what the weights were trained with.
        std: in 0..255 units; default likewise.

    Raises:
        ValueError: if the model, the tag, the file or the image size does not fit.
        FileNotFoundError: if the weights of a tag can be neither found nor downloaded.
    """

    def __init__(
        self,
        model: str = 'ViT-B-16',
        pretrained: str = 'openai',
        image_size: int | None = None,
        mean: float | list[float] | None = None,
        std: float | list[float] | None = None,
    ) -> None:
        name = model.replace('/', '-') if isinstance(model, str) else model
        check_model_name(name, open_clip.list_models(), 'open_clip.list_models()')
        if not isinstance(pretrained, str | Path) or not str(pretrained):
            raise InputError(
                f'pretrained={pretrained!r}: pass a tag or the path of a weight file; tags: '
                f'{", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"}'
            )
        check_image_size(image_size)
        if Path(pretrained).is_file():
            visual = _from_file(name, pretrained).visual
        else:
            visual = _from_tag(name, pretrained).visual
        if not isinstance(visual, VisionTransformer) or visual.attn_pool is not None:
            raise InputError(
                f'the image tower of model={name!r} has no projected patch tokens: choose a ViT '
                'without attention pooling, such as ViT-B-16, or use TimmTeacher for other networks'
            )
        config = visual.preprocess_cfg
        super().__init__(
            _ProjectedPatchTokens(visual),
            embed_dim=visual.output_dim,
            mean=[255 * value for value in config['mean']] if mean is None else mean,
            std=[255 * value for value in config['std']] if std is None else std,
            image_size=image_size,
        )

    def extract(self, pixels: Tensor) -> Tensor:
        visual: Any = self.model.visual
        (height, width), (rows, columns) = pixels.shape[-2:], visual.patch_size
        if height % rows or width % columns:
            raise InputError(
                f'images of {height}×{width} pixels do not divide into patches of {rows}×{columns}:'
                f' set image_size to a multiple of {rows}'
            )
        grid_size = (height // rows, width // columns)
        if grid_size == tuple(visual.grid_size):
            return self.model(pixels)
        positions = resize_position_embedding(
            visual.positional_embedding, visual.grid_size, grid_size
        )
        return torch.func.functional_call(
            self.model, {'visual.positional_embedding': positions}, (pixels,)
        )


def resize_position_embedding(
    embedding: Tensor, old_grid: tuple[int, int], new_grid: tuple[int, int]
) -> Tensor:
    """Interpolate a position embedding with a class token (antialiased bicubic, as open_clip).

    Args:
        embedding: (1 + h * w, D); the first row is the class token's and is kept.
        old_grid: (h, w).
        new_grid: (h', w').

    Returns:
        (1 + h' * w', D).
    """
    class_position, positions = embedding[:1], embedding[1:]
    positions = positions.T.reshape(1, -1, *old_grid)
    positions = F.interpolate(
        positions, size=new_grid, mode='bicubic', align_corners=False, antialias=True
    )
    return torch.cat([class_position, positions.flatten(2)[0].T])


def _from_file(name: str, path: str) -> nn.Module:
    if f'{name}-quickgelu' in open_clip.list_models():
        print_log(
            f'{path} runs in {name!r} with GELU; OpenAI weights need QuickGELU: if these are, '
            f"set model='{name}-quickgelu'",
            logger='current',
            level=logging.WARNING,
        )
    try:
        model = open_clip.create_model(name, pretrained=path, weights_only=True)
    except Exception as error:  # the file formats' errors share no type
        raise InputError(
            f'pretrained={path!r} does not load into the open_clip model {name!r}: '
            f'{first_line(error)}. Pass a state dict of that whole model (.pt, .bin or '
            '.safetensors), which is read weights-only. A TorchScript archive such as the .pt that '
            'OpenAI published is converted once, if you trust it, by '
            'torch.save(open_clip.load_openai_model(path, '
            "precision='fp32').state_dict(), new_path)"
        ) from error
    check_numbers(model.state_dict(), path)
    return model


def needs_quick_gelu(name: str, tag: str) -> bool:
    """Whether the weights of an open_clip tag were trained with QuickGELU.

    open_clip only warns if a tag and a model name disagree (``ViT-B-16`` with ``openai``), and then
    runs with the wrong activation.
    """
    return bool(open_clip.get_pretrained_cfg(name, tag).get('quick_gelu', False))


def _from_tag(name: str, tag: str) -> nn.Module:
    config = open_clip.get_pretrained_cfg(name, tag)
    if not config:
        tags = ', '.join(open_clip.list_pretrained_tags_by_model(name)) or 'none'
        raise InputError(
            f'pretrained={tag!r} is neither an existing file nor a tag of {name!r}; '
            f'its tags: {tags}'
        )
    quick_gelu = needs_quick_gelu(name, tag)
    try:
        return open_clip.create_model(
            name, pretrained=tag, force_quick_gelu=quick_gelu, weights_only=True
        )
    except Exception as error:  # network clients share no exception type
        file_model = name
        if quick_gelu and not name.endswith('-quickgelu'):
            file_model = f'{name}-quickgelu'
        source = config.get('hf_hub', '').rstrip('/') or 'the open_clip release'
        raise MissingFileError(
            f'the weights {tag!r} of the CLIP teacher {name!r} could not be downloaded: '
            f'{first_line(error)}. Without a network, place a copy of the weight file of {source} '
            '(open_clip_model.safetensors) on this machine and set '
            f"model='{file_model}', pretrained='PATH/open_clip_model.safetensors'"
        ) from error

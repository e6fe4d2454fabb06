"""What pretraining learned: the codes that the model predicts behind the mask, beside the true."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image, ImageDraw
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.models.beitv2 import BEiTV2
from mmbeitv2.visualization.code_maps import code_colours
from mmbeitv2.visualization.codes import (
    CodedImages,
    Patch,
    cell_box,
    group_by_code,
)
from mmbeitv2.visualization.style import (
    MUTED,
    NEAR,
    RIGHT,
    WRONG,
    new_figure,
    resize,
    save_figure,
    show_picture,
    styled,
    to_pixels,
)

SIDE = 176  # pixels of one picture
TOP = 5
NEAREST = 16
HIDDEN = (226, 230, 235)

# Of a cell's row and column: a colour or a picture.
Content = Callable[[tuple[int, int]], tuple[int, ...] | Image.Image]


@dataclass
class MaskedPredictions:
    """Codes behind the masks of some images.

    Args:
        masks: bool ``(B, rows, columns)``, True where hidden.
        codes: int64 ``(B, rows, columns)``, the tokenizer's, of all patches.
        predicted: int64 ``(B, rows, columns)``, the model's where hidden, −1 elsewhere.
        in_top: bool ``(B, rows, columns)``, whether the true code is among the five likeliest.
    """

    masks: Tensor
    codes: Tensor
    predicted: Tensor
    in_top: Tensor

    @property
    def right(self) -> Tensor:
        """Whether hidden patches got their true code, bool ``(B, rows, columns)``."""
        return self.predicted == self.codes


@torch.no_grad()
def predict_masked(
    model: BEiTV2, images: Sequence[Image.Image], masks: Tensor, branch: str = 'mim'
) -> MaskedPredictions:
    """Hide patches of photos and predict their codes.

    Args:
        model: in eval mode.
        images: RGB; resized to the model's image size.
        masks: bool ``(B, rows, columns)``, the same number of hidden patches in each.
        branch: ``'mim'``, the last layer, or ``'cls'``, the patch aggregation.

    Returns:
        True and predicted codes.

    Raises:
        ValueError: masks that do not fit the images and the model's grid.
    """
    expected = (len(images), *model.backbone.grid)
    if tuple(masks.shape) != expected:
        raise InputError(
            f'masks have shape {tuple(masks.shape)}, expected {expected}: (images, rows, columns) '
            'of the model’s patch grid.'
        )
    pixels = to_pixels(images, model.backbone.img_size)
    flat = masks.flatten(1)
    positions = flat.nonzero()[:, 1].view(len(images), -1)
    preprocessor = model.data_preprocessor
    student = (pixels / 255 - preprocessor.mean) / preprocessor.std
    logits = model.predict_codes(student, flat, positions)[branch]
    codes = model.target_generator.tokenize(pixels / 127.5 - 1)
    best = logits.topk(min(TOP, logits.shape[-1]), dim=-1).indices
    hit = (best == codes.flatten(1).gather(1, positions)[..., None]).any(dim=-1)
    predicted = torch.full_like(codes.flatten(1), -1).scatter(1, positions, best[..., 0])
    in_top = torch.zeros_like(flat).scatter(1, positions, hit)
    return MaskedPredictions(masks, codes, predicted.view_as(codes), in_top.view_as(masks))


def exemplars(coded: CodedImages) -> dict[int, Image.Image]:
    """For each code that occurs, one real patch that stands for it.

    Of the patches nearest to the code, at most one from an image, the one whose pixels lie nearest
    to their mean: an odd patch near the code would mislead the eye.
    """
    groups = group_by_code(coded, coded.codes.unique().tolist(), NEAREST)
    chosen = {}
    for code, patches in groups.items():
        cuts = [_cut(coded.images[patch.image], patch, coded) for patch in patches]
        pixels = np.stack([np.asarray(cut, np.float32) for cut in cuts])
        distance = np.square(pixels - pixels.mean(axis=0)).mean(axis=(1, 2, 3))
        chosen[code] = cuts[int(distance.argmin())]
    return chosen


def mask_predictions(
    model: BEiTV2,
    images: Sequence[Image.Image],
    masks: Tensor,
    references: CodedImages,
    path: str | Path,
    branch: str = 'mim',
) -> MaskedPredictions:
    """Draw input, mask, true and predicted codes of held-out photos, one row each.

    Codes appear twice: as colours, and painted with :func:`exemplars` of ``references``.

    Args:
        model: in eval mode.
        images: RGB.
        masks: bool ``(B, rows, columns)``.
        references: other held-out photos with their codes, without ``images``, so that no patch
            shows itself.
        path: of the PNG.
        branch: as in :func:`predict_masked`.

    Returns:
        What is drawn.
    """
    result = predict_masked(model, images, masks, branch)
    pictures, colours = exemplars(references), code_colours(references.codebook)
    titles = (
        'photo',
        'model’s input',
        'true codes',
        'predicted codes',
        'true, painted',
        'predicted, painted',
    )
    with styled():
        figure = new_figure(1.45 * len(titles), 1.45 * len(images) + 0.62)
        grid = figure.subplots(len(images), len(titles), squeeze=False)
        height = figure.get_figheight()
        figure.subplots_adjust(0, 0.32 / height, 1, 1 - 0.28 / height, wspace=0.04, hspace=0.04)
        for axes, title in zip(grid[0], titles):
            axes.set_title(title, loc='center', fontsize=9)
        for i, (row, image) in enumerate(zip(grid, images)):
            photo = resize(image, (SIDE, SIDE))
            mask, codes, predicted = masks[i], result.codes[i], result.predicted[i]
            marks = _outlines(result, i)
            for axes, picture in zip(
                row,
                (
                    photo,
                    _fill(photo, mask, lambda place: HIDDEN),
                    _fill(photo, mask, _coloured(codes, colours)),
                    _fill(photo, mask, _coloured(predicted, colours), marks),
                    _fill(photo, mask, _painted(codes, pictures)),
                    _fill(photo, mask, _painted(predicted, pictures), marks),
                ),
            ):
                show_picture(axes, picture)
        _legend(figure, result)
        save_figure(figure, path)
    return result


def _cut(image: Image.Image, patch: Patch, coded: CodedImages) -> Image.Image:
    box = cell_box(patch, coded.codes.shape[1:], image.size)
    return image.resize((32, 32), Image.Resampling.BICUBIC, box=box)


def _coloured(codes: Tensor, colours: np.ndarray) -> Content:
    return lambda place: tuple((255 * colours[int(codes[place])]).round().astype(int).tolist())


def _painted(codes: Tensor, pictures: dict[int, Image.Image]) -> Content:
    """Exemplar of a cell's code; a code that no reference shows stays hidden."""
    return lambda place: pictures.get(int(codes[place]), HIDDEN)


def _fill(
    photo: Image.Image,
    mask: Tensor,
    content: Content,
    outlines: dict[tuple[int, int], str] | None = None,
) -> Image.Image:
    """The photo, paler, with ``content(place)``, a colour or a picture, where hidden."""
    result = Image.blend(photo, Image.new('RGB', photo.size, 'white'), 0.25)
    draw = ImageDraw.Draw(result)
    for row, column in mask.nonzero().tolist():
        edges = cell_box(Patch(0, row, column), mask.shape, photo.size)
        left, top, right, bottom = map(round, edges)
        value = content((row, column))
        if isinstance(value, tuple):
            draw.rectangle((left, top, right - 1, bottom - 1), fill=value)
        else:
            size = (right - left, bottom - top)
            result.paste(value.resize(size, Image.Resampling.BICUBIC), (left, top))
        if outlines:
            edge = (left + 1, top + 1, right - 2, bottom - 2)
            draw.rectangle(edge, outline=outlines[row, column], width=2)
    return result


def _outlines(result: MaskedPredictions, image: int) -> dict[tuple[int, int], str]:
    colours = {}
    for row, column in result.masks[image].nonzero().tolist():
        place = (image, row, column)
        near = NEAR if result.in_top[place] else WRONG
        colours[row, column] = RIGHT if result.right[place] else near
    return colours


def _legend(figure: Figure, result: MaskedPredictions) -> None:
    hidden = int(result.masks.sum())
    right = int(result.right.sum())
    near = int(result.in_top.sum()) - right
    entries = (
        (RIGHT, f'exactly the true code ({right / hidden:.0%})'),
        (NEAR, f'true code among the {TOP} likeliest ({near / hidden:.0%})'),
        (WRONG, f'neither ({(hidden - right - near) / hidden:.0%})'),
    )
    handles = [
        Line2D([], [], marker='s', linestyle='', markersize=8, color=colour, markerfacecolor='none',
               markeredgewidth=2, label=label)
        for colour, label in entries
    ]  # fmt: skip
    figure.legend(handles=handles, loc='lower center', ncols=3, fontsize=8.5, labelcolor=MUTED)

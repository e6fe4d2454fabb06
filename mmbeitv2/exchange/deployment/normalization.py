"""How a fine-tuned model's photos are normalised, measured on pictures of one colour."""

import tempfile
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.exchange.fine_tuned import FineTuned

# One that no permutation of the channels, and no other rule than a line, leaves where it is.
COLOUR = (200, 100, 50)
TOLERANCE = 1e-4


class Normalization(NamedTuple):
    """Mean and standard deviation of red, green and blue, on the scale [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def measure_normalization(
    fine_tuned: FineTuned, size: tuple[int, int], source: str
) -> Normalization:
    """Mean and standard deviation by which a pipeline and its preprocessor normalise RGB.

    Read off the configs they would be a guess: who swaps which channels depends on how photos are
    decoded and on both. So black, white and a colour go all the way.

    Args:
        fine_tuned: the model with its test pipeline.
        size: height and width in pixels of what the model sees.
        source: of the checkpoint, for messages.

    Raises:
        ValueError: pictures of one colour do not stay so, or not by one line a channel.
    """
    black, white, seen = (
        _seen(fine_tuned, colour, size, source) for colour in ((0,) * 3, (255,) * 3, COLOUR)
    )
    std = 1 / (white - black)
    mean = -black * std
    expected = (torch.tensor(COLOUR, dtype=torch.float64) / 255 - mean) / std
    if not torch.allclose(seen, expected, atol=TOLERANCE):
        raise InputError(
            f'{source}: its pipeline makes {_rounded(seen)} of the colour {COLOUR}, which no mean '
            f'and standard deviation of RGB gives ({_rounded(expected)}): load photos as RGB, or '
            'have data_preprocessor turn BGR round'
        )
    return Normalization(_rounded(mean), _rounded(std))


def _seen(
    fine_tuned: FineTuned, colour: tuple[int, ...], size: tuple[int, int], source: str
) -> Tensor:
    """What the model sees of a picture of one colour: float64 ``(3,)``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, 'colour.png')
        Image.new('RGB', size[::-1], colour).save(path)
        sample = fine_tuned.pipeline(dict(img_path=str(path)))
    batch = dict(inputs=[sample['inputs']], data_samples=[sample['data_samples']])
    preprocess = getattr(fine_tuned.model, 'data_preprocessor')  # noqa: B009  an nn.Module's
    (image,) = preprocess(batch)['inputs']
    values = image.double().flatten(1)
    if len(values) != 3 or (values.amax(1) - values.amin(1)).max() > TOLERANCE:
        raise InputError(
            f'{source}: its pipeline or data_preprocessor pads or changes photos of '
            f'{size[0]} × {size[1]} pixels at run time, which no export repeats: set test_cfg of '
            'data_preprocessor to None and the test pipeline to one size'
        )
    return values.mean(1)


def _rounded(values: Tensor) -> tuple[float, ...]:
    return tuple(round(float(value), 6) for value in values)

"""One picture: objects pasted on a background, and the annotation that goes with it."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageOps

from .assets import CLASSES

SEG_CLASSES = ('background', *CLASSES)

# Longest side of an object as a share of the picture, by the number of objects in it: one object
# fills the picture as in ImageNet, several must fit beside one another.
SIZE_RANGES = {1: (0.75, 1.0), 2: (0.55, 0.8), 3: (0.45, 0.65)}
MAX_ROTATION = 15  # degrees; animals and vehicles still stand upright
BRIGHTNESS = (0.8, 1.2)
CROP_RANGE = (0.4, 1.0)  # share of the background's shorter side
# A pixel belongs to a class that makes up this much of it. Softer edges are unlabelled.
MIN_SHARE = 0.9
MAX_HIDDEN = 0.5  # share of an object that the objects in front of it may hide
PLACEMENT_TRIES = 20


def compose(
    background: Image.Image,
    objects: Sequence[tuple[Image.Image, str]],
    image_size: int,
    rng: np.random.Generator,
) -> tuple[Image.Image, Image.Image]:
    """Paste cut-outs on a random crop of a background, the first one farthest back.

    Args:
        background: RGB picture of any size.
        objects: 1 to 3 pairs of an RGBA cut-out and its class, one of ``CLASSES``.
        image_size: side of the square result, in pixels.
        rng: source of crop, scale, flip, rotation, brightness and place.

    Returns:
        The RGB picture and its annotation (mode ``L``), both ``image_size`` × ``image_size``.
        A pixel's annotation is the index in ``SEG_CLASSES`` plus 1 of the class that makes up at
        least 90 % of it after everything in front is accounted for, else 0.

    Raises:
        ValueError: another number of objects, or an unknown class.
    """
    if len(objects) not in SIZE_RANGES:
        raise ValueError(f'{len(objects)} objects: a picture holds 1 to {max(SIZE_RANGES)}')
    for _, name in objects:
        if name not in CLASSES:
            raise ValueError(f'unknown class {name!r}: allowed are {", ".join(CLASSES)}')

    canvas = _random_crop(background, image_size, rng)
    shares = {SEG_CLASSES[0]: np.ones((image_size, image_size), np.float32)}
    visible: list[np.ndarray] = []
    areas: list[float] = []
    for stamp, name in objects:
        side = round(image_size * rng.uniform(*SIZE_RANGES[len(objects)]))
        colour, alpha = _random_view(stamp, side, rng)
        window = _place(alpha, visible, areas, image_size, rng)
        for layer in (*visible, *shares.values()):
            layer[window] *= 1 - alpha
        visible.append(np.zeros((image_size, image_size), np.float32))
        visible[-1][window] = alpha
        areas.append(float(alpha.sum()))
        if name not in shares:
            shares[name] = np.zeros((image_size, image_size), np.float32)
        shares[name][window] += alpha
        canvas[window] += alpha[..., None] * (colour - canvas[window])

    labels = np.zeros((image_size, image_size), np.uint8)
    for name, share in shares.items():
        labels[share >= MIN_SHARE] = SEG_CLASSES.index(name) + 1
    picture = canvas.round().clip(0, 255).astype(np.uint8)
    return Image.fromarray(picture), Image.fromarray(labels)


def _random_crop(background: Image.Image, image_size: int, rng: np.random.Generator) -> np.ndarray:
    width, height = background.size
    side = min(width, height) * rng.uniform(*CROP_RANGE)
    left, top = rng.uniform(0, width - side), rng.uniform(0, height - side)
    crop = background.resize(
        (image_size, image_size),
        Image.Resampling.HAMMING,
        box=(left, top, left + side, top + side),
    )
    if rng.random() < 0.5:
        crop = ImageOps.mirror(crop)
    return (np.asarray(crop, np.float32) * np.float32(rng.uniform(*BRIGHTNESS))).clip(0, 255)


def _random_view(
    stamp: Image.Image, side: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Flip, rotate and scale a cut-out; returns colour (h, w, 3) in [0, 255], alpha in [0, 1]."""
    if rng.random() < 0.5:
        stamp = ImageOps.mirror(stamp)
    angle = rng.uniform(-MAX_ROTATION, MAX_ROTATION)
    # Scaled first, so that the costlier rotation works on fewer pixels.
    cosine, sine = np.cos(np.radians(angle)), abs(np.sin(np.radians(angle)))
    width, height = stamp.size
    scale = side / max(width * cosine + height * sine, width * sine + height * cosine)
    size = (max(1, int(width * scale)), max(1, int(height * scale)))
    stamp = stamp.resize(size, Image.Resampling.BICUBIC)
    stamp = stamp.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    view = np.asarray(stamp.crop(stamp.getchannel('A').getbbox()), np.float32)
    colour = (view[..., :3] * np.float32(rng.uniform(*BRIGHTNESS))).clip(0, 255)
    return colour, view[..., 3] / 255


def _place(
    alpha: np.ndarray,
    visible: list[np.ndarray],
    areas: list[float],
    image_size: int,
    rng: np.random.Generator,
) -> tuple[slice, slice]:
    """Choose a place inside the picture where the objects behind stay recognisable.

    ``visible`` holds what can still be seen of each object behind, ``areas`` their whole areas.
    """
    height, width = alpha.shape
    remaining = [layer.sum() for layer in visible]
    best, least_hidden = (slice(0, height), slice(0, width)), np.inf
    for _ in range(PLACEMENT_TRIES):
        top = int(rng.integers(image_size - height + 1))
        left = int(rng.integers(image_size - width + 1))
        window = (slice(top, top + height), slice(left, left + width))
        hidden = max(
            (
                1 - (rest - (layer[window] * alpha).sum()) / area
                for layer, rest, area in zip(visible, remaining, areas)
            ),
            default=0.0,
        )
        if hidden < least_hidden:
            best, least_hidden = window, hidden
        if hidden <= MAX_HIDDEN:
            break
    return best

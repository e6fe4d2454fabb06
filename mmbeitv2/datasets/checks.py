"""Checks of transforms' arguments, when they are built: a worker would report them in mid-run."""

import math
from collections.abc import Sequence
from typing import Any

from mmbeitv2.errors import InputError

INTERPOLATIONS = ('bicubic', 'bilinear')


def refuse(owner: object, name: str, value: Any, allowed: str) -> InputError:
    """The error that an argument is not allowed.

    Args:
        owner: The transform.
        name: Of the argument.
        value: As it was given.
        allowed: What is, with an example.
    """
    return InputError(f'{type(owner).__name__}: {name} is {value!r}, but must be {allowed}')


def _is_number(value: Any) -> bool:
    # NumPy's numbers too, but no texts, which float reads.
    return hasattr(value, '__float__') and not isinstance(value, bool) and math.isfinite(value)


def check_side(owner: object, name: str, value: Any) -> None:
    """Refuse what is no whole number of pixels from 1 on, nor two of them, height and width.

    Raises:
        ValueError: with the value and what is allowed.
    """
    sides = value if isinstance(value, Sequence) and len(value) == 2 else (value,)
    if not all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in sides):
        raise refuse(owner, name, value, 'a whole number of pixels from 1 on, such as 224')


def check_probability(owner: object, name: str, value: Any) -> None:
    """Refuse what is no number in [0, 1].

    Raises:
        ValueError: with the value and what is allowed.
    """
    if not (_is_number(value) and 0 <= value <= 1):
        raise refuse(owner, name, value, 'in [0, 1], such as 0.5')


def check_span(owner: object, name: str, value: Any, most: float, example: str) -> None:
    """Refuse what is not two numbers in (0, ``most``], the first no larger than the second.

    Raises:
        ValueError: with the value and what is allowed.
    """
    two = isinstance(value, Sequence) and len(value) == 2 and all(map(_is_number, value))
    if not (two and 0 < value[0] <= value[1] <= most):
        limit = f'in (0, {most:g}]' if math.isfinite(most) else 'above 0'
        raise refuse(
            owner, name, value, f'two numbers {limit}, the smaller first, such as {example}'
        )


def check_interpolation(owner: object, value: Any) -> None:
    """Refuse an interpolation that torch does not do with anti-aliasing.

    Raises:
        ValueError: with the value and what is allowed.
    """
    if value not in INTERPOLATIONS:
        raise refuse(owner, 'interpolation', value, ' or '.join(map(repr, INTERPOLATIONS)))

"""Checks of arguments, when transforms and models are built: their use would be in mid-run."""

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral
from typing import Any

from mmbeitv2.errors import InputError

INTERPOLATIONS = ('bicubic', 'bilinear')


def refuse(owner: object, name: str, value: Any, allowed: str) -> InputError:
    """The error that an argument is not allowed.

    Args:
        owner: The transform or model.
        name: Of the argument.
        value: As it was given.
        allowed: What is, with an example.
    """
    return InputError(f'{type(owner).__name__}: {name} is {value!r}, but must be {allowed}')


def _is_number(value: Any) -> bool:
    # NumPy's numbers too, but no texts, which float reads.
    return hasattr(value, '__float__') and not isinstance(value, bool) and math.isfinite(value)


def is_count(value: Any, least: int = 1) -> bool:
    """Whether this is a whole number (NumPy's too, no truth value) of at least ``least``."""
    return isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= least


def check_count(owner: object, name: str, value: Any, example: int, least: int = 1) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        ValueError: with the value and what is allowed.
    """
    if not is_count(value, least):
        allowed = f'a whole number from {least} on, such as {example}'
        raise refuse(owner, name, value, allowed)


def check_number(
    owner: object,
    name: str,
    value: Any,
    example: float,
    above: float | None = None,
    optional: bool = False,
) -> None:
    """Refuse what is no finite number from 0 on.

    Args:
        owner: The transform or model.
        name: Of the argument.
        value: As it was given.
        example: A usual value.
        above: That the number must exceed; None for 0 or more.
        optional: Whether None is allowed.

    Raises:
        ValueError: with the value and what is allowed.
    """
    if optional and value is None:
        return
    if not (_is_number(value) and (value >= 0 if above is None else value > above)):
        limit = 'of at least 0' if above is None else f'above {above:g}'
        other = ', or None' if optional else ''
        raise refuse(owner, name, value, f'a number {limit}, such as {example:g}{other}')


def check_flag(owner: object, name: str, value: Any) -> None:
    """Refuse what is neither True nor False; a text such as ``'False'`` would count as True.

    Raises:
        ValueError: with the value and what is allowed.
    """
    if not (isinstance(value, bool | Integral) and value in (0, 1)):
        raise refuse(owner, name, value, 'True or False')


def check_choice(owner: object, name: str, value: Any, choices: Iterable[Any]) -> None:
    """Refuse what is not among the choices.

    Raises:
        ValueError: with the value and the choices.
    """
    choices = list(choices)
    if value not in choices:
        raise refuse(owner, name, value, f'one of {", ".join(map(repr, choices))}')


def check_arguments(owner: object, name: str, value: Any, of: type) -> None:
    """Refuse what is no dictionary of arguments.

    Raises:
        ValueError: with the value and whose arguments are wanted.
    """
    if not isinstance(value, Mapping):
        raise refuse(owner, name, value, f'dict(...) with arguments of {of.__name__}')


def check_side(owner: object, name: str, value: Any) -> None:
    """Refuse what is no whole number of pixels from 1 on, nor two of them, height and width.

    Raises:
        ValueError: with the value and what is allowed.
    """
    sides = value if isinstance(value, Sequence) and len(value) == 2 else (value,)
    if not all(map(is_count, sides)):
        raise refuse(owner, name, value, 'a whole number of pixels from 1 on, such as 224')


def check_probability(owner: object, name: str, value: Any) -> None:
    """Refuse what is no number in [0, 1].

    Raises:
        ValueError: with the value and what is allowed.
    """
    if not (_is_number(value) and 0 <= value <= 1):
        raise refuse(owner, name, value, 'in [0, 1], such as 0.5')


def check_channels(
    owner: object, name: str, value: Any, example: Sequence[float], most: float | None = None
) -> None:
    """Refuse what is not three finite numbers from 0 on, one for each of red, green and blue.

    Args:
        owner: The transform or model.
        name: Of the argument.
        value: As it was given.
        example: Usual values.
        most: The largest that is allowed.

    Raises:
        ValueError: with the value and what is allowed.
    """
    three = isinstance(value, Sequence) and len(value) == 3 and all(map(_is_number, value))
    if not (three and all(0 <= v <= (math.inf if most is None else most) for v in value)):
        limit = 'of at least 0' if most is None else f'in [0, {most:g}]'
        raise refuse(owner, name, value, f'three numbers {limit}, such as {tuple(example)}')


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

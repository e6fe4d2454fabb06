"""Kernels written by hand: what they are for and what they cost.

A kernel is seen if it is an operator (``torch.library.custom_op`` with a fake implementation). By
default it reads its arguments once and writes its results once, and its operations are those of a
formula registered with ``torch.utils.flop_counter.register_flop_formula``.
"""

from collections.abc import Callable
from dataclasses import dataclass

from kinds import ATTENTION, OTHER


@dataclass(frozen=True)
class Declared:
    """What is known of an operator, see :func:`declare`."""

    kind: str
    of_model: float
    cost: Callable[..., tuple[int, int]] | None


DECLARED: dict[str, Declared] = {}


def declare(
    name: str,
    kind: str = OTHER,
    of_model: float = 1.0,
    cost: Callable[..., tuple[int, int]] | None = None,
) -> None:
    """Declare a custom operator ``namespace::name``.

    Args:
        name: of the operator.
        kind: what it is for, of ``kinds.py``; attention is slower than other products.
        of_model: share of its operations that nothing else computes, 0 to 1.
        cost: takes the operator's arguments and returns its floating-point operations and the bytes
            that it reads and writes; None for the default.
    """
    DECLARED[name] = Declared(kind, of_model, cost)


# It makes attention again, of which the model asks for nothing.
declare('mmbeitv2::bias_gradient', kind=ATTENTION, of_model=0.0)

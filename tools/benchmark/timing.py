"""Time of recorded operators on a card."""

from dataclasses import dataclass

import cards
import torch
from cards import Card
from kinds import ATTENTION
from traffic import Operator


@dataclass
class Timing:
    """Predicted time of a step.

    Attributes:
        seconds: from the first operator to the end of the last.
        device_seconds: of the card's kernels alone.
        host_seconds: of sending them.
        by_operator: seconds of each operator.
    """

    seconds: float
    device_seconds: float
    host_seconds: float
    by_operator: list[float]


def kernel_seconds(operator: Operator, card: Card) -> float:
    """``max(flops / rate, bytes / bandwidth) + gap`` of one operator; zero without a kernel.

    Attention, whose loops are short, takes the sum instead of the larger.
    """
    if not operator.is_kernel:
        return 0.0
    compute = operator.flops / rate(operator, card) if operator.flops else 0.0
    moving = operator.bytes / (card.memory_fraction * card.memory_peak)
    together = compute + moving if operator.kind == ATTENTION else max(compute, moving)
    return together + card.gap


def rate(operator: Operator, card: Card) -> float:
    """Operations a second that an operator is taken to reach."""
    if operator.kind == ATTENTION:
        kernel = next((k for k in ('flash', 'cudnn') if k in operator.name), 'efficient')
        fractions = getattr(card, kernel)
        return fractions['backward' in operator.name] * card.peak[operator.dtype]
    return card.product_fraction * card.square[operator.dtype]


def step_seconds(operators: list[Operator], card: Card, compiled: bool) -> Timing:
    """Run the operators in order: the host sends each, the card runs it once it is free."""
    host = device = busy = 0.0
    layer, each = None, []
    for operator in operators:
        if operator.layer != layer:
            layer = operator.layer
            host += cards.HOST_LAYER if compiled and layer is not None else 0.0
        host += _host_seconds(operator, compiled)
        each.append(kernel_seconds(operator, card))
        busy += each[-1]
        device = max(device, host) + each[-1]
    return Timing(max(host, device), busy, host, each)


def _host_seconds(operator: Operator, compiled: bool) -> float:
    if not operator.is_kernel:
        return cards.HOST_VIEW
    return cards.HOST_FUSED if compiled and operator.layer is not None else cards.HOST_OPERATOR


def share_of_rate(operators: list[Operator], card: Card, seconds: float) -> float:
    """Model's operations over what large square products would reach in that time, each type."""
    ideal = 0.0
    for dtype in {operator.dtype for operator in operators}:
        flops = sum(o.model_flops for o in operators if o.dtype == dtype)
        ideal += flops / card.square.get(dtype, card.square[torch.float32])
    return ideal / seconds

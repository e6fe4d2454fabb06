"""Autograd's walk through a graph, in Python: for tensors whose device is not there."""

import heapq
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import get_gradient_edge


@torch.no_grad()
def walk_back(
    outputs: Sequence[Tensor],
    seeds: Sequence[Tensor],
    inputs: Sequence[Tensor],
    on_node: Callable,
) -> tuple[Tensor | None, ...]:
    """Run a backward pass node by node, in the order of autograd's engine.

    Args:
        outputs: where it begins.
        seeds: their gradients.
        inputs: tensors whose gradients are returned; empty to fill ``grad`` of all leaves.
        on_node: called with every node before it runs.

    Returns:
        Gradients of the inputs, None where there is none.
    """
    wanted = [_edge(tensor) for tensor in inputs]
    found = {}
    gradients, ready, waiting = {}, [], _dependencies(outputs)
    for output, seed in zip(outputs, seeds):
        node, place = _edge(output)
        _collect(gradients.setdefault(node, {}), place, seed)
    for node in gradients:
        if not waiting[node]:
            heapq.heappush(ready, (-node._sequence_nr(), id(node), node))
    while ready:
        *_, node = heapq.heappop(ready)
        given = gradients.pop(node, {})
        found.update({(node, i): given.get(i) for i in given if (node, i) in wanted})
        on_node(node)
        for (following, place), gradient in zip(node.next_functions, _run(node, given, wanted)):
            if following is None:
                continue
            if gradient is not None:
                gradient = _fit(gradient, following._input_metadata[place])
                _collect(gradients.setdefault(following, {}), place, gradient)
            waiting[following] -= 1
            if not waiting[following]:
                heapq.heappush(ready, (-following._sequence_nr(), id(following), following))
    return tuple(found.get(edge) for edge in wanted)


def _edge(tensor: Tensor) -> tuple:
    edge = get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def _dependencies(outputs: Sequence[Tensor]) -> dict:
    """How many nodes must run before each node."""
    roots = {get_gradient_edge(output).node for output in outputs}
    waiting, stack = dict.fromkeys(roots, 0), list(roots)
    while stack:
        for following, _ in stack.pop().next_functions:
            if following is not None:
                if following not in waiting:
                    waiting[following] = 0
                    stack.append(following)
                waiting[following] += 1
    return waiting


def _run(node, given: dict[int, Tensor], wanted: list) -> Sequence[Tensor | None]:
    """Gradients of the inputs of a node from those of its outputs."""
    if not any(gradient is not None for gradient in given.values()):
        return [None] * len(node.next_functions)
    if hasattr(node, 'variable'):
        if not wanted:
            _accumulate(node.variable, given[0])
        return []
    gradients = [given.get(i) for i in range(len(node._input_metadata))]
    of_python = hasattr(node, 'needs_input_grad')
    result = node.apply(*gradients) if of_python else node(*gradients)
    result = result if isinstance(result, tuple) else (result,)
    if not of_python:
        return result
    # A function of Python's returns something for every argument, also for those without an edge.
    needed = iter([value for value, need in zip(result, node.needs_input_grad) if need])
    return [None if following is None else next(needed) for following, _ in node.next_functions]


def _fit(gradient: Tensor, wanted) -> Tensor:
    """As autograd: a gradient is summed over what was broadcast, and of its tensor's type."""
    if gradient.shape != tuple(wanted.shape):
        gradient = gradient.sum_to_size(tuple(wanted.shape))
    return gradient.to(wanted.dtype)


def _collect(given: dict[int, Tensor], place: int, gradient: Tensor) -> None:
    given[place] = gradient if given.get(place) is None else given[place] + gradient


def _accumulate(leaf: Tensor, gradient: Tensor) -> None:
    """As autograd: the first gradient of a leaf becomes its own unless it lies otherwise."""
    if leaf.grad is not None:
        leaf.grad += gradient
    elif gradient.stride() == leaf.stride():
        leaf.grad = gradient.detach()
    else:
        leaf.grad = gradient.detach().clone(memory_format=torch.contiguous_format)

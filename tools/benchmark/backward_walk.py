"""Autograd's walk through a graph, in Python: for tensors whose device is not there.

Autograd's engine asks the driver for streams before it runs a node. The nodes themselves need no
driver: here they are called one after the other, each with what the engine would give it.
"""

import heapq
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.overrides import TorchFunctionMode

# The engine's names for a node and the number of one of its outputs in the forward pass.
Edge = tuple[Node, int]


class WalkedBackward(TorchFunctionMode):
    """``Tensor.backward`` and ``torch.autograd.grad`` by a walk over the graph.

    What the engine does besides calling nodes is done too: gradients are summed over the uses of a
    tensor, cast to its type and reduced to its shape, and refused on another device. Hooks of
    tensors are not called, but for those after a leaf's accumulation. What leads to none of the
    tensors asked for is walked as well.

    Args:
        on_node: called with every node before ``Tensor.backward`` runs it, and with None after the
            last.
    """

    def __init__(self, on_node: Callable[[Node | None], None] = lambda node: None) -> None:
        super().__init__()
        self.on_node = on_node

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        walk = {Tensor.backward: self._backward, torch.autograd.grad: self._grad}.get(func)
        if walk is None:
            return func(*args, **kwargs)
        # A mode is off while it handles a call, but backward passes ask for gradients themselves.
        with self:
            return walk(*args, **kwargs)

    def _backward(
        self,
        root: Tensor,
        gradient: Tensor | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Tensor | Sequence[Tensor] | None = None,
    ) -> None:
        if create_graph or inputs is not None:
            raise NotImplementedError('backward passes with create_graph or inputs are not walked')
        _Walk([root], [gradient], [], self.on_node).run()
        self.on_node(None)

    def _grad(
        self,
        outputs: Tensor | Sequence[Tensor],
        inputs: Tensor | Sequence[Tensor],
        grad_outputs: Tensor | Sequence[Tensor] | None = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        only_inputs: bool = True,
        allow_unused: bool | None = None,
        is_grads_batched: bool = False,
        materialize_grads: bool = False,
    ) -> tuple[Tensor | None, ...]:
        if create_graph or not only_inputs or is_grads_batched or materialize_grads:
            raise NotImplementedError(
                'torch.autograd.grad is walked without create_graph, is_grads_batched and '
                'materialize_grads, and with only_inputs'
            )
        outputs, edges = _as_list(outputs), [_edge(tensor) for tensor in _as_list(inputs)]
        seeds = [None] * len(outputs) if grad_outputs is None else _as_list(grad_outputs)
        # Asked for inside of a node as a rule, which has been announced.
        found = _Walk(outputs, seeds, edges, lambda node: None).run()
        if not allow_unused and any(found.get(edge) is None for edge in edges):
            raise RuntimeError('one of the tensors does not appear in the graph')
        return tuple(found.get(edge) for edge in edges)


class _Walk:
    """One backward pass.

    Args:
        outputs: where it begins.
        seeds: their gradients; None for ones.
        wanted: where gradients are returned; empty to fill ``grad`` of all leaves.
        on_node: called with every node before it runs.
    """

    def __init__(
        self,
        outputs: Sequence[Tensor],
        seeds: Sequence[Tensor | None],
        wanted: Sequence[Edge],
        on_node: Callable[[Node], None],
    ) -> None:
        self.starts = [_edge(output) for output in outputs]
        self.seeds = [torch.ones_like(o) if s is None else s for o, s in zip(outputs, seeds)]
        self.wanted = set(wanted)
        self.on_node = on_node
        # Of each node that waits: the sum of the gradients so far, by output.
        self.arrived: dict[Node, list[Tensor | None]] = {}
        self.waiting = _count_uses([node for node, _ in self.starts])
        self.ready: list[tuple[int, int, Node]] = []
        self.order = itertools.count()

    @torch.no_grad()
    def run(self) -> dict[Edge, Tensor]:
        """Call every node once all that use its outputs have been called, the latest first."""
        found = {}
        for edge, seed in zip(self.starts, self.seeds):
            self._arrive(edge, seed)
        for node in dict.fromkeys(node for node, _ in self.starts):
            self._push(node)
        while self.ready:
            *_, node = heapq.heappop(self.ready)
            given = self.arrived.pop(node, [None] * len(node._input_metadata))
            for index, gradient in enumerate(given):
                if (node, index) in self.wanted and gradient is not None:
                    found[node, index] = gradient
            self.on_node(node)
            for edge, gradient in zip(_edges(node), self._call(node, given)):
                if gradient is not None:
                    self._arrive(edge, gradient)
            for following, _ in _edges(node):
                self.waiting[following] -= 1
                self._push(following)
        return found

    def _push(self, node: Node) -> None:
        """The engine runs what was recorded last first, and leaves before all others."""
        if not self.waiting[node]:
            heapq.heappush(self.ready, (-node._sequence_nr(), next(self.order), node))

    def _arrive(self, edge: Edge, gradient: Tensor) -> None:
        node, index = edge
        metadata = node._input_metadata[index]
        if gradient.device != metadata.device:
            raise RuntimeError(
                f'{node.name()} got a gradient on {gradient.device}, '
                f'its tensor is on {metadata.device}'
            )
        if gradient.shape != metadata.shape:
            gradient = gradient.sum_to_size(metadata.shape)
        gradient = gradient.to(metadata.dtype)
        slots = self.arrived.setdefault(node, [None] * len(node._input_metadata))
        slots[index] = gradient if slots[index] is None else slots[index] + gradient

    def _call(self, node: Node, given: list[Tensor | None]) -> list[Tensor | None]:
        """Gradients that a node returns, one for each of :func:`_edges`."""
        if all(gradient is None for gradient in given):
            return []
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            missing = (
                torch.zeros(m.shape, dtype=m.dtype, device=m.device) if g is None else g
                for g, m in zip(given, node._input_metadata)
            )
            returned = _as_list(node.apply(*missing))
            # It returns something for arguments that are no tensors, and have no edge, too.
            returned = iter([g for g, needed in zip(returned, node.needs_input_grad) if needed])
            return [next(returned) for _ in _edges(node)]
        if hasattr(node, 'variable'):
            if not self.wanted:
                self._accumulate(node, given[0])
            return []
        returned = _as_list(node(*given))
        return [g for g, (to, _) in zip(returned, node.next_functions) if to is not None]

    def _accumulate(self, node: Node, gradient: Tensor) -> None:
        """Give a leaf its gradient.

        The engine hands a gradient that nobody else holds and that lies like the leaf over to its
        node, which keeps it without a copy. A node called from Python always sees a second holder
        and copies, so that the bytes of a step would be too many: that one case is done here. All
        others, sums, other layouts, shared gradients and hooks, are torch's own.
        """
        leaf = node.variable
        kept = leaf.grad is None and gradient.stride() == leaf.stride()
        if kept and not leaf._post_accumulate_grad_hooks and not self._is_held(gradient):
            leaf.grad = gradient.detach()
        else:
            node(gradient)

    def _is_held(self, gradient: Tensor) -> bool:
        """Whether the caller or a node that has yet to run holds the same tensor."""
        held = itertools.chain(self.seeds, *self.arrived.values())
        return any(gradient is tensor for tensor in held)


def _edge(tensor: Tensor) -> Edge:
    # Of torch 2.2: the file can be imported before.
    edge = torch.autograd.graph.get_gradient_edge(tensor)
    return edge.node, edge.output_nr


def _edges(node: Node) -> Iterator[Edge]:
    return (edge for edge in node.next_functions if edge[0] is not None)


def _count_uses(starts: list[Node]) -> Counter[Node]:
    """How many calls each node waits for."""
    uses, seen, stack = Counter(), set(starts), list(dict.fromkeys(starts))
    while stack:
        for node, _ in _edges(stack.pop()):
            uses[node] += 1
            if node not in seen:
                seen.add(node)
                stack.append(node)
    return uses


def _as_list(values: Tensor | Sequence[Tensor | None] | None) -> list[Tensor | None]:
    return [values] if values is None or isinstance(values, Tensor) else list(values)

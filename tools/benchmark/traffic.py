"""Operations and bytes of every operator that a step runs.

A pass over memory reads each element of an operator's inputs once and writes each of its outputs
once: an expanded dimension is read once, a view costs nothing, what is changed in place is read and
written. Where a kernel does otherwise, a rule below says so. Floating-point operations are those of
PyTorch's own registry (``torch.utils.flop_counter``): matrix products, convolutions, attention.
Kernels written by hand are in ``declared.py``.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from declared import DECLARED
from torch import Tensor
from torch.utils._pytree import tree_flatten
from torch.utils.flop_counter import flop_registry

# Written over without being read.
OVERWRITES = {
    'bernoulli_', 'copy_', 'exponential_', 'fill_', 'normal_', 'random_', 'uniform_', 'zero_',
}  # fmt: skip
# Operators that run no kernel though no schema says so.
NO_KERNEL = {'_unsafe_view', 'detach', 'empty', 'empty_like', 'empty_strided', 'lift_fresh',
             'new_empty', 'new_empty_strided', '_local_scalar_dense'}  # fmt: skip
# Reads only the places that are picked.
PICKS = {'gather', 'index', 'index_select', 'embedding'}
# Writes only the places that are picked, on top of what is there.
SCATTERS = {
    'index_add', 'index_add_', 'index_put', 'index_put_', '_index_put_impl_', 'scatter',
    'scatter_', 'scatter_add', 'scatter_add_', '_unsafe_index_put',
}  # fmt: skip


@dataclass(eq=False)
class Operator:
    """What one operator of a step costs.

    Attributes:
        name: of ATen, without namespace.
        kind: what it is for, see ``kinds.py``.
        phase: ``'tokenizer'``, ``'forward'``, ``'backward'``, ``'recomputation'``, ``'optimiser'``.
        layer: number of the Transformer layer's pass that it belongs to; None outside.
        flops: floating-point operations.
        model_flops: those that the model's equations ask for: nothing that is computed again,
            neither layers nor the logits in attention's backward kernels, one of five products.
        dtype: of its products.
        reads: bytes read by number of the storage.
        writes: bytes written by number of the storage.
        extra_bytes: read or written beyond those.
        is_kernel: whether the card has anything to do.
        fusible: whether a compiler fuses it with its neighbours.
        shapes: of its inputs, for people.
    """

    name: str
    kind: str
    phase: str
    layer: int | None
    flops: int
    model_flops: float
    dtype: torch.dtype
    reads: dict[int, int]
    writes: dict[int, int]
    extra_bytes: int
    is_kernel: bool
    fusible: bool
    shapes: str

    @property
    def bytes(self) -> int:
        """Bytes read and written."""
        return sum(self.reads.values()) + sum(self.writes.values()) + self.extra_bytes


def touched(tensor: Tensor) -> int:
    """Bytes of the different elements of a tensor: an expanded dimension has one."""
    sizes = (n for n, step in zip(tensor.shape, tensor.stride()) if step or not n)
    return math.prod(sizes) * tensor.element_size()


def declared_cost(func) -> Callable[..., tuple[int, int]] | None:
    """What a custom operator was declared to cost, or None."""
    found = DECLARED.get(func._schema.name)
    return None if found is None else found.cost


def name_of(func) -> str:
    """Name without namespace and overload: ``'add'`` of ``aten.add.Tensor``."""
    return func._schema.name.split('::')[1]


def operations(func, args: tuple, kwargs: dict, out: object) -> int:
    """Floating-point operations; zero for all but products, convolutions and attention."""
    cost = declared_cost(func)
    if cost is not None:
        return cost(*args, **kwargs)[0]
    if name_of(func) == '_scaled_dot_product_flash_attention_for_cpu':
        formula = flop_registry[torch.ops.aten._scaled_dot_product_flash_attention]
        return formula(*args[:3], out_val=out)
    formula = flop_registry.get(func._overloadpacket)
    return 0 if formula is None else formula(*args, **kwargs, out_val=out)


def share_of_model(func, phase: str) -> float:
    """Share of an operator's operations that the model's equations ask for, 0 to 1."""
    if phase == 'recomputation':
        return 0.0
    if func._schema.name in DECLARED:
        return DECLARED[func._schema.name].of_model
    name = name_of(func)
    return 0.8 if 'scaled_dot_product' in name and 'backward' in name else 1.0


def tensors(values: object) -> list[Tensor]:
    """All tensors of nested values."""
    return [value for value in tree_flatten(values)[0] if isinstance(value, Tensor)]


class Traffic:
    """Counts bytes by storage; the same storage has the same number as long as it lives.

    Args:
        number: gives a storage's number.
    """

    def __init__(self, number: Callable[[Tensor], int]) -> None:
        self.number = number

    def of(self, func, args: tuple, kwargs: dict, out: object) -> tuple[dict, dict, int]:
        """Bytes read by storage, bytes written by storage, and bytes beyond those."""
        cost = declared_cost(func)
        if cost is not None:
            reads, writes = self._sum(tensors((args, kwargs))), self._sum(tensors(out))
            declared = cost(*args, **kwargs)[1]
            return reads, writes, declared - sum(reads.values()) - sum(writes.values())
        name = name_of(func)
        if is_free(func, args, kwargs, out):
            return {}, {}, 0
        changed, kept = _by_mutation(func, args, kwargs)
        if name in PICKS:
            return self._picked(args, out)
        if name in SCATTERS:
            return self._scattered(args, kwargs, changed, out)
        if name in OVERWRITES or func._schema.overload_name == 'out':
            return self._sum(kept), self._sum(changed), 0
        if name == '_fused_adamw_':
            # The schema lets it change gradients, which it does only to unscale them.
            weights, gradients, *states = (tensors(values) for values in args[:5])
            changed = [*weights, *states[0], *states[1]]
            return self._sum(changed + gradients), self._sum(changed), 0
        results = [] if changed else tensors(out)
        reads, writes = self._sum(kept + changed), self._sum(changed + results)
        return reads, writes, self._beyond(name, args, reads)

    def _beyond(self, name: str, args: tuple, reads: dict[int, int]) -> int:
        """Corrections of what kernels of CUDA read beside one pass, or do not read."""
        if name == 'native_layer_norm_backward':
            # One kernel for the input's gradient, another for the gain's and the shift's.
            return touched(args[0]) + touched(args[1])
        if name in ('nll_loss_forward', 'nll_loss_backward'):
            # One of many log-probabilities is read, and none in the backward pass.
            scores = args[0] if name == 'nll_loss_forward' else args[1]
            return -reads[self.number(scores)]
        return 0

    def _picked(self, args: tuple, out: Tensor) -> tuple[dict, dict, int]:
        source, indices = args[0], tensors(args[1:])
        read = {self.number(source): min(touched(out), touched(source))}
        return {**read, **self._sum(indices)}, self._sum([out]), 0

    def _scattered(self, args, kwargs, changed, out) -> tuple[dict, dict, int]:
        target, others = args[0], tensors((args[1:], kwargs))
        values = [t for t in others if t.dtype == target.dtype]
        place = sum(touched(value) for value in values)
        if changed:
            return self._sum(others), {self.number(target): place}, place
        return self._sum([target, *others]), self._sum(tensors(out)), 2 * place

    def _sum(self, values: Iterable[Tensor]) -> dict[int, int]:
        """Bytes by storage: views of one are added, the same view counts once."""
        views = {}
        for t in values:
            key = (self.number(t), t.storage_offset(), tuple(t.shape), t.stride())
            views[key] = t
        found: dict[int, int] = {}
        for (number, *_), t in views.items():
            whole = t.untyped_storage().nbytes()
            found[number] = min(found.get(number, 0) + touched(t), whole)
        return found


def is_free(func, args: tuple, kwargs: dict, out: object) -> bool:
    """Whether an operator runs no kernel: a view, or memory without contents."""
    if name_of(func) in NO_KERNEL or func.namespace == 'prim':
        return True
    aliased = [r for r in func._schema.returns if r.alias_info is not None]
    if any(not result.alias_info.is_write for result in aliased):
        return True
    storages = {t.untyped_storage()._cdata for t in tensors((args, kwargs))}
    results = tensors(out)
    return (
        not func._schema.is_mutable
        and bool(results)
        and all(t.untyped_storage()._cdata in storages for t in results)
    )


def _by_mutation(func, args: tuple, kwargs: dict) -> tuple[list[Tensor], list[Tensor]]:
    """Tensors that the operator changes, and those it only reads."""
    changed, kept = [], []
    for i, argument in enumerate(func._schema.arguments):
        value = args[i] if i < len(args) else kwargs.get(argument.name)
        written = argument.alias_info is not None and argument.alias_info.is_write
        (changed if written else kept).extend(tensors(value))
    return changed, kept

"""Record every operator of a step: forward pass, backward pass and optimiser."""

import contextlib
import weakref
from bisect import bisect_right
from collections.abc import Iterator

import torch
from declared import DECLARED
from kinds import MATRIX, kind_of
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary
from traffic import (
    Operator,
    Traffic,
    is_free,
    name_of,
    operations,
    share_of_model,
    tensors,
)


class Recorder(TorchDispatchMode):
    """Lists the operators that run on a device.

    Args:
        device: ``'cuda'`` or ``'cpu'``; what runs elsewhere is not listed.
        classes: width of the logits.

    Attributes:
        operators: in the order in which they ran.
        held_bytes: of tensors made in this context that are alive.
    """

    def __init__(self, device: str, classes: int = -1) -> None:
        super().__init__()
        self.device = device
        self.classes = classes
        self.operators: list[Operator] = []
        self.held_bytes = 0
        self.phase = 'forward'
        self.layer = None
        self._numbers = WeakIdKeyDictionary(ref_type=weakref.ref)
        self._count = 0
        self._traffic = Traffic(self._number)
        self._starts: list[int] = []
        self._passes: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [t for t in tensors((args, kwargs)) if t.device.type == self.device]
        for tensor in given:
            self._number(tensor)
        out = func(*args, **kwargs)
        made = [t for t in tensors(out) if t.device.type == self.device]
        if (given or made) and func.namespace != 'prim':
            self._hold(made)
            self.operators.append(self._operator(func, args, kwargs, out, given, made))
        return out

    def _operator(self, func, args, kwargs, out, given, made) -> Operator:
        name, phase = name_of(func), self._phase()
        reads, writes, extra = self._traffic.of(func, args, kwargs, out)
        flops = operations(func, args, kwargs, out)
        kernel = not is_free(func, args, kwargs, out)
        declared = DECLARED.get(func._schema.name)
        kind = declared.kind if declared else kind_of(name, phase, given, made, self.classes)
        floats = [t for t in given if t.is_floating_point()]
        return Operator(
            name=name,
            kind=kind,
            phase=phase,
            layer=self.layer,
            flops=flops,
            model_flops=flops * share_of_model(func, phase),
            dtype=floats[0].dtype if floats else torch.float32,
            reads=reads,
            writes=writes,
            extra_bytes=extra,
            is_kernel=kernel,
            fusible=kernel and func.namespace == 'aten' and not flops and name not in MATRIX,
            shapes=', '.join(_shape(t) for t in given[:3]),
        )

    def _phase(self) -> str:
        if self.phase == 'backward' and torch.is_grad_enabled():
            return 'recomputation'
        return self.phase

    def _number(self, tensor: Tensor) -> int:
        storage = tensor.untyped_storage()
        if storage not in self._numbers:
            self._numbers[storage] = self._count
            self._count += 1
        return self._numbers[storage]

    def _hold(self, made: list[Tensor]) -> None:
        for tensor in made:
            storage = tensor.untyped_storage()
            if storage not in self._numbers:
                self._number(tensor)
                self.held_bytes += storage.nbytes()
                weakref.finalize(storage, self._release, storage.nbytes())

    def _release(self, number_of_bytes: int) -> None:
        self.held_bytes -= number_of_bytes

    def on_backward(self, node) -> None:
        """Before an autograd node runs: which layer's it is. None after the last."""
        self.phase = 'forward' if node is None else 'backward'
        self.layer = None
        if node is not None:
            place = bisect_right(self._starts, node._sequence_nr()) - 1
            if place >= 0 and node._sequence_nr() < self._passes[place][1]:
                self.layer = 2 * self._passes[place][0] + 1

    @contextlib.contextmanager
    def during(self, phase: str) -> Iterator[None]:
        """Context of the tokenizer, or of clipping and the optimiser's step."""
        before, self.phase = self.phase, phase
        try:
            yield
        finally:
            self.phase = before

    def mark_layers(self, model: nn.Module, kinds: tuple[type, ...], compiled: bool) -> None:
        """Tell the operators of each Transformer layer, forward and backward, from others.

        Args:
            model: whose layers are marked.
            kinds: classes of layers.
            compiled: the layers are told that they are compiled, as ``torch.compile`` does.
        """
        for module in model.modules():
            if isinstance(module, kinds):
                _Pass(self, module, compiled)


class _Pass:
    """Marks one layer's passes."""

    def __init__(self, recorder: Recorder, layer: nn.Module, compiled: bool) -> None:
        self.recorder = recorder
        self.compiled = compiled
        self.stack = contextlib.ExitStack()
        layer.register_forward_pre_hook(self.enter)
        layer.register_forward_hook(self.leave)

    def enter(self, *_) -> None:
        recorder = self.recorder
        number = len(recorder._passes)
        recorder.layer = 2 * number
        recorder._starts.append(_sequence())
        recorder._passes.append((number, 0))
        if self.compiled:
            self.stack.enter_context(torch.compiler._compile_session_context())

    def leave(self, *_) -> None:
        recorder = self.recorder
        recorder._passes[-1] = (recorder._passes[-1][0], _sequence())
        recorder.layer = None
        self.stack.close()


def _sequence() -> int:
    """Number of the next autograd node."""
    return torch._C._autograd._get_sequence_nr()


def _shape(tensor: Tensor) -> str:
    kind = str(tensor.dtype).removeprefix('torch.').replace('float', 'f').replace('int', 'i')
    return f'{kind} {"×".join(map(str, tensor.shape)) or "scalar"}'

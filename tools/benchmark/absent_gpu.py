"""A GPU that is not there: its steps run on tensors with shapes, data types and no values.

Every operator that a card would be given runs, with PyTorch's own autocast for CUDA and PyTorch's
own backward functions. What needs a card is done without one: the walk through the graph of a
backward pass by ``backward_walk.py``, the choice of a kernel for attention by
``fused_attention.py``. The length of what a Boolean index picks has to be told.

Tensors that are on the CPU keep their values, so that masks are listed as in a real run.
"""

import contextlib
from collections.abc import Callable, Sequence

import torch
from backward_walk import WalkedBackward
from fused_attention import FusedAttention
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

aten = torch.ops.aten


class FakeGPU:
    """Context in which ``device='cuda'`` makes tensors without values.

    Args:
        picked: number of True values in every Boolean index.
        on_backward: called with the autograd node that runs next in a backward pass, or with None
            after the last.
        cudnn: torch prefers cuDNN's attention on the card.
    """

    def __init__(
        self, picked: int, on_backward: Callable = lambda node: None, cudnn: bool = False
    ) -> None:
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.modes = [
            self.fake,
            _Operators(self.fake, picked),
            FusedAttention(cudnn),
            WalkedBackward(on_backward),
        ]
        self.stack = contextlib.ExitStack()

    def build(self, build: Callable[[], object]) -> object:
        """What ``build`` gives, all of its tensors on the GPU."""
        with self.fake, torch.device('cuda'):
            return build()

    def __enter__(self) -> 'FakeGPU':
        for mode in self.modes:
            self.stack.enter_context(mode)
        return self

    def __exit__(self, *error) -> None:
        self.stack.close()


class _Operators(TorchDispatchMode):
    """Runs what concerns the GPU without values, and the rest on the CPU."""

    def __init__(self, fake: FakeTensorMode, picked: int) -> None:
        super().__init__()
        self.fake = fake
        self.picked = picked

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        values, _ = tree_flatten((args, kwargs))
        on_gpu = any(isinstance(value, FakeTensor) for value in values)
        on_gpu |= any(isinstance(v, torch.device) and v.type == 'cuda' for v in values)
        if not on_gpu:
            with unset_fake_temporarily():
                return func(*args, **kwargs)
        args, kwargs = tree_map_only(Tensor, self._fake, (args, kwargs))
        if func in (aten.index.Tensor, aten.index_put.default, aten._index_put_impl_.default):
            args = (args[0], self._without_booleans(args[1]), *args[2:])
        return func(*args, **kwargs)

    def _fake(self, tensor: Tensor) -> Tensor:
        return tensor if isinstance(tensor, FakeTensor) else self.fake.from_tensor(tensor)

    def _without_booleans(self, indices: Sequence[Tensor | None]) -> list[Tensor | None]:
        """The places that a Boolean index stands for."""
        places = []
        for index in indices:
            if index is None or index.dtype not in (torch.bool, torch.uint8):
                places.append(index)
            else:
                shape = (index.dim(), self.picked)
                places += torch.empty(shape, dtype=torch.int64, device=index.device).unbind()
        return places

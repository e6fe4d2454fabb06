"""A GPU that is not there: its steps run on tensors with shapes, data types and no values.

Every operator that a card would be given runs, with PyTorch's own autocast for CUDA and PyTorch's
own backward functions. Three things need a card and are done here instead:

- the walk through the graph of a backward pass, which autograd's engine refuses without one;
- the choice of a kernel for ``scaled_dot_product_attention``: for a mask that learns, and in
  float32, the memory-efficient one; else cuDNN's on cards for which torch prefers it; else the
  memory-efficient one with a mask and the flash kernel without;
- the length of what a Boolean index picks, which has to be told.

Tensors that are on the CPU keep their values, so that masks are listed as in a real run.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from backward_pass import walk_back
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode, unset_fake_temporarily
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only

aten = torch.ops.aten

# The memory-efficient kernel wants rows of a mask to begin at multiples of this many elements.
MASK_ALIGNMENT = 16


@contextlib.contextmanager
def cuda_autocast(dtype: torch.dtype) -> Iterator[None]:
    """Autocast of CUDA to ``dtype``, float32 for none.

    ``torch.autocast('cuda')`` switches itself off where no card is; what it switches on does not
    need one.
    """
    before = torch.is_autocast_enabled('cuda'), torch.get_autocast_dtype('cuda')
    torch.set_autocast_enabled('cuda', dtype is not torch.float32)
    torch.set_autocast_dtype('cuda', torch.float16 if dtype is torch.float32 else dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled('cuda', before[0])
        torch.set_autocast_dtype('cuda', before[1])


class FakeGPU:
    """Context in which ``device='cuda'`` makes tensors without values.

    Args:
        picked: number of True values in every Boolean index.
        on_backward: called with the autograd node that runs next in a backward pass, or with None
            after the last.
        cudnn: torch prefers cuDNN's attention on the card.
    """

    def __init__(
        self, picked: int, on_backward: Callable | None = None, cudnn: bool = False
    ) -> None:
        self.fake = FakeTensorMode(allow_non_fake_inputs=True)
        self.modes = [
            self.fake,
            _Operators(self.fake, picked),
            _Functions(on_backward or (lambda node: None), cudnn),
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


class _Functions(TorchFunctionMode):
    """Backward passes and the choice of attention kernels."""

    def __init__(self, on_backward: Callable, cudnn: bool) -> None:
        super().__init__()
        self.cudnn = cudnn
        self.on_backward = on_backward

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and args[0].is_cuda:
            return fused_attention(*args, **kwargs, cudnn=self.cudnn)
        if func is Tensor.backward and args[0].is_cuda:
            with self:
                return self._backward(args[0], kwargs.get('gradient'))
        if func is torch.autograd.grad:
            with self:
                return self._grad(*args, **kwargs)
        return func(*args, **kwargs)

    def _backward(self, loss: Tensor, gradient: Tensor | None = None) -> None:
        seed = torch.ones_like(loss) if gradient is None else gradient
        walk_back([loss], [seed], [], self.on_backward)
        self.on_backward(None)

    def _grad(self, outputs, inputs, grad_outputs=None, **options) -> tuple[Tensor | None, ...]:
        outputs, inputs = ([x] if isinstance(x, Tensor) else list(x) for x in (outputs, inputs))
        grads = [grad_outputs] if isinstance(grad_outputs, Tensor) else grad_outputs
        grads = grads or [None] * len(outputs)
        seeds = [torch.ones_like(o) if g is None else g for o, g in zip(outputs, grads)]
        return walk_back(outputs, seeds, inputs, lambda node: None)


def fused_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
    cudnn: bool = False,
) -> Tensor:
    """``scaled_dot_product_attention`` by the kernel that CUDA would run.

    A mask's rows are padded, and its gradient is the kernel's own: of every image and head, summed
    by autograd.
    """
    if torch.is_autocast_enabled('cuda'):
        dtype = torch.get_autocast_dtype('cuda')
        query, key, value = (t.to(dtype) for t in (query, key, value))
        attn_mask = attn_mask if attn_mask is None else attn_mask.to(dtype)
    options = dict(dropout_p=dropout_p, is_causal=is_causal, scale=scale)
    inputs = (query, key, value, attn_mask)
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
    half = query.dtype is not torch.float32
    mask_learns = learns and attn_mask is not None and attn_mask.requires_grad
    if attn_mask is not None:
        length = attn_mask.shape[-1]
        if length % MASK_ALIGNMENT:
            attn_mask = F.pad(attn_mask, (0, -length % MASK_ALIGNMENT))[..., :length]
        attn_mask = attn_mask.expand(*query.shape[:2], query.shape[2], key.shape[2])
    if half and cudnn and not mask_learns:
        kernel = aten._scaled_dot_product_cudnn_attention
    elif half and attn_mask is None:
        return aten._scaled_dot_product_flash_attention(query, key, value, **options)[0]
    else:
        kernel = aten._scaled_dot_product_efficient_attention
    return kernel(query, key, value, attn_mask, learns, **options)[0]

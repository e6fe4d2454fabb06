"""Scalars that stay on the device until somebody reads them, so that the host need not wait."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from mmengine.logging import MessageHub
from torch import Tensor


class DeferredScalars:
    """Scalars on their way into mmengine's message hub.

    Each number that the host reads makes it wait until the device has caught up, with nothing
    queued behind. Read together, all the numbers since the last log cost one such wait. The hub's
    histories, and so the means that are logged, are those of reading every number at once.

    Args:
        message_hub: where the scalars go.
    """

    def __init__(self, message_hub: MessageHub) -> None:
        self.message_hub = message_hub
        self._pending: list[tuple[list[str], list[float] | Tensor]] = []

    def add(self, scalars: Mapping[str, Tensor | float]) -> None:
        """Keep a copy of the scalars; later changes of the tensors are not seen.

        Args:
            scalars: by their names in the hub; tensors of one element on any device, or numbers.
        """
        kinds: dict[Any, dict[str, Any]] = defaultdict(dict)
        for name, value in scalars.items():
            if isinstance(value, Tensor):
                kinds[value.device, value.dtype][name] = value.detach().reshape(())
            else:
                kinds[None][name] = value
        for kind, values in kinds.items():
            numbers = torch.stack(list(values.values())) if kind else list(values.values())
            self._pending.append((list(values), numbers))

    def write(self) -> None:
        """Read all numbers and put them into the hub, in the order in which they came."""
        pending, self._pending = self._pending, []
        for names, numbers in pending:
            if isinstance(numbers, Tensor):
                numbers = numbers.tolist()
            for name, number in zip(names, numbers):
                self.message_hub.update_scalar(name, number)


class DeferredGradNorm:
    """Optimiser wrapper, mixed in before mmengine's, that does not wait for the gradients' norm.

    mmengine's reads the norm in every update, between the backward pass and the optimiser's step.
    :class:`DeferredRuntimeInfoHook` sets ``deferred_scalars``; without it, the norm is read at
    once.
    """

    deferred_scalars: DeferredScalars | None = None

    # Of the wrapper.
    clip_grad_kwargs: dict[str, Any] | None
    clip_func: Callable[..., Tensor | None]
    grad_name: str
    message_hub: MessageHub

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.clip_grad_kwargs:
            self.clip_func = self._recording(self.clip_func)

    def _recording(self, clip: Callable[..., Tensor | None]) -> Callable[..., None]:
        def clip_and_record(*args: Any, **kwargs: Any) -> None:
            # mmengine reads and records what is returned here, unless it is nothing.
            norm = clip(*args, **kwargs)
            if norm is None:
                return
            name = f'train/{self.grad_name}'
            if self.deferred_scalars is None:
                self.message_hub.update_scalar(name, float(norm))
                return
            # The norm of sharded gradients is a part of the whole on each process.
            whole = norm.full_tensor() if hasattr(norm, 'full_tensor') else norm
            self.deferred_scalars.add({name: whole})

        return clip_and_record


class HostCopy:
    """A copy of a scalar on its way to the host.

    On CUDA the copy is queued behind what computes the scalar, and the host goes on; on other
    devices it is made at once.

    Args:
        value: float tensor of one element.
    """

    def __init__(self, value: Tensor) -> None:
        value = value.detach().float()
        self._event = None
        if value.is_cuda:
            host = torch.empty(value.shape, pin_memory=True)
            host.copy_(value, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()
        else:
            host = value.cpu()
        self._array = host.numpy()

    def arrived(self) -> bool:
        """Whether reading the value waits for nothing."""
        return self._event is None or self._event.query()

    def read(self) -> float:
        """The value; waits for it."""
        if self._event is not None:
            self._event.synchronize()
        return float(self._array)

"""Ask all processes of a run something, without any of them waiting within a step."""

from datetime import timedelta
from typing import Any

import torch
import torch.distributed
from mmengine.dist import get_world_size
from torch import Tensor

# torch's own for gloo.
DEFAULT_TIMEOUT = 1800


class Agreement:
    """Whether any process wants something, known to all of them at the same look.

    Each look sends this process's answer and reads what all had answered at the look before, which
    has arrived while the step was computed. So nothing waits, unless a process is behind by more
    than a step. It goes over gloo, on the host: a look takes some 0.2 ms of two busy cores, and no
    GPU knows of it. A process that does not look ends the others by an error after ``timeout``.

    Args:
        timeout: seconds; None for half an hour.
    """

    def __init__(self, timeout: float | None = None) -> None:
        # Any: torch's types name what processes outside a group get too, and this one is inside.
        self._pending: tuple[Any, Tensor] | None = None
        self._group: Any = None
        if get_world_size() > 1:
            self._group = torch.distributed.new_group(
                backend='gloo', timeout=timedelta(seconds=timeout or DEFAULT_TIMEOUT)
            )

    def look(self, wanted: bool) -> bool:
        """Answer, and read the answer to the look before; one process alone has it at once.

        Args:
            wanted: of this process. All processes must look.
        """
        if self._group is None:
            return wanted
        agreed = self.last()
        answer = torch.tensor([wanted], dtype=torch.int32)
        work = torch.distributed.all_reduce(
            answer, torch.distributed.ReduceOp.MAX, group=self._group, async_op=True
        )
        self._pending = work, answer
        return agreed

    def last(self) -> bool:
        """Read the last answer: before a process ends, lest the others still wait for it."""
        if self._pending is None:
            return False
        work, answer = self._pending
        self._pending = None
        work.wait()
        return bool(answer.item())

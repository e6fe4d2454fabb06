"""What a step costs, whatever else the machine does: operations, calls, launches, bytes, waits."""

import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass

# The profiler's own messages, before torch reads it.
os.environ.setdefault('KINETO_LOG_LEVEL', '99')

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from mmbeitv2.torch_releases import attention_in_parts

Step = Callable[[], object]


@dataclass(frozen=True)
class Counts:
    """Costs of one step.

    Attributes:
        flops: of matrix products, convolutions and attention, forward and backward.
        operator_calls: of PyTorch operators that others do not call.
        kernel_launches: on the GPU; None without one.
        host_waits: times that the host waits for the GPU; None without one.
        peak_bytes: most bytes of tensors during the step beyond those before it.
    """

    flops: int
    operator_calls: int
    kernel_launches: int | None
    host_waits: int | None
    peak_bytes: int


def count(step: Step, device: str = 'cpu') -> Counts:
    """Run ``step`` a few times and count; its first run should be over."""
    calls, launches = _profiled_calls(step, device)
    return Counts(
        flops=flops(step),
        operator_calls=calls,
        kernel_launches=launches,
        host_waits=len(host_waits(step)) if device != 'cpu' else None,
        peak_bytes=peak_bytes(step, device),
    )


def flops(step: Step) -> int:
    """Floating-point operations of the matrix products of one run."""
    # The counter knows the parts of attention, not the fused kernel for CPUs.
    with FlopCounterMode(display=False) as counter, attention_in_parts():
        step()
    return counter.get_total_flops()


def peak_bytes(step: Step, device: str = 'cpu') -> int:
    """Most bytes of tensors during one run beyond those before it."""
    if device != 'cpu':
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        step()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step()
    changes = [e for e in profiler.profiler.kineto_results.events() if e.name() == '[memory]']
    held = most = 0
    # Torch before 2.4 tells microseconds; what falls into the same one is listed in order.
    start = 'start_ns' if all(hasattr(change, 'start_ns') for change in changes) else 'start_us'
    for change in sorted(changes, key=lambda event: getattr(event, start)()):
        held += change.nbytes()
        most = max(most, held)
    return most


def host_waits(step: Step) -> list[warnings.WarningMessage]:
    """Where one run makes the host wait for the GPU, by PyTorch's own watch; one for each time."""
    torch.cuda.set_sync_debug_mode('warn')
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter('always')
            step()
    finally:
        torch.cuda.set_sync_debug_mode('default')
    return [warning for warning in caught if 'synchroniz' in str(warning.message)]


def time_shares(step: Step, device: str = 'cpu') -> dict[str, float]:
    """Share of one run's time that each operator takes by itself, largest first."""
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device != 'cpu')
    with profile(activities=activities) as profiler:
        step()
    field = 'self_cpu_time_total' if device == 'cpu' else 'self_device_time_total'
    # On a GPU every kernel is listed twice: by itself, and in the operator that launches it.
    operators = (e for e in profiler.key_averages() if e.device_type == DeviceType.CPU)
    times = {e.key: getattr(e, field) for e in operators}
    total = sum(times.values())
    ordered = sorted(times.items(), key=lambda item: item[1], reverse=True)
    return {name: time / total for name, time in ordered}


def _profiled_calls(step: Step, device: str) -> tuple[int, int | None]:
    activities = [ProfilerActivity.CPU]
    if device != 'cpu':
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        step()
    events = profiler.events()
    outermost = [
        e
        for e in events
        if e.name.startswith('aten::')
        and (e.cpu_parent is None or not e.cpu_parent.name.startswith('aten::'))
    ]
    if device == 'cpu':
        return len(outermost), None
    return len(outermost), sum('LaunchKernel' in event.name for event in events)

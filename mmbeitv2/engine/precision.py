"""Which precision a run's matrix products have: one setting, right by default on every device."""

from typing import Any, NamedTuple

import torch
from mmengine.device import get_device

from mmbeitv2.errors import InputError

PRECISIONS = ('auto', 'bfloat16', 'float16', 'float32')
# The first NVIDIA GPUs that multiply bfloat16 natively, Ampere; AMD's numbers begin at 9.
BFLOAT16_CAPABILITY = (8, 0)
# Instructions of CPUs that multiply bfloat16 matrices.
BFLOAT16_INSTRUCTIONS = ('avx512_bf16', 'amx_bf16')


class Precision(NamedTuple):
    """What was chosen.

    Attributes:
        dtype: of matrix products under autocast; ``torch.float32`` for no autocast.
        device: kind of device, such as ``'cuda'``.
        reason: why, for the log.
    """

    dtype: torch.dtype
    device: str
    reason: str

    def __str__(self) -> str:
        return f'{str(self.dtype).removeprefix("torch.")} ({self.reason})'

    def autocast(self, device: str | None = None) -> torch.autocast:
        """Context of a forward pass on ``device``, the chosen one's kind unless given."""
        mixed = self.dtype != torch.float32
        # Not passed where nothing is cast: autocast warns of kinds that it does not know.
        options: dict[str, Any] = dict(dtype=self.dtype) if mixed else {}
        return torch.autocast(device or self.device, enabled=mixed, **options)


def choose_precision(name: str = 'auto', device: str | None = None) -> Precision:
    """Settle the precision of training or evaluation.

    ``'auto'`` is bfloat16 where the device multiplies it natively (NVIDIA GPUs since Ampere, CPUs
    with AVX512-BF16 or AMX): it has the range of float32, so that losses need no scaling. On older
    GPUs it is float16, the official release's choice, and elsewhere float32. What must be exact is
    float32 under each: lookup of codes, task layers, logits of classifiers, softmax statistics,
    losses, weights and optimiser state.

    Args:
        name: one of ``PRECISIONS``.
        device: kind of device, ``'cuda'`` or ``'cpu'``; this machine's unless given.

    Raises:
        ValueError: another name, or one that the device cannot serve.
    """
    if name not in PRECISIONS:
        raise InputError(f'precision is {name!r}, allowed: {", ".join(PRECISIONS)}.')
    device = get_device() if device is None else device
    native, known_as = _multiplies_bfloat16(device)
    if name == 'auto':
        if native:
            return Precision(torch.bfloat16, device, f'auto: {known_as} multiplies it natively')
        if device == 'cuda':
            return Precision(
                torch.float16, device, f'auto: {known_as} does not multiply bfloat16; loss scaled'
            )
        return Precision(torch.float32, device, f'auto: {known_as} does not multiply bfloat16')
    if name == 'bfloat16' and device == 'cuda' and not native:
        raise InputError(
            f'precision is bfloat16, which {known_as} only emulates; it has float16 and float32: '
            'leave precision at auto.'
        )
    if name == 'float16' and device != 'cuda':
        raise InputError(
            f'precision is float16, which needs a GPU; {known_as} has bfloat16 and float32: leave '
            'precision at auto.'
        )
    emulated = name == 'bfloat16' and not native
    return Precision(
        getattr(torch, name), device, f'as set; {known_as} emulates it' if emulated else 'as set'
    )


def _multiplies_bfloat16(device: str) -> tuple[bool, str]:
    """Whether a device multiplies bfloat16 natively, and how to call it."""
    if device == 'cuda':
        # The least of them: all processes of a run must choose alike.
        oldest = min(range(torch.cuda.device_count()), key=torch.cuda.get_device_capability)
        capability = torch.cuda.get_device_capability(oldest)
        name = f'{torch.cuda.get_device_name(oldest)} (compute capability {_dotted(capability)})'
        return capability >= BFLOAT16_CAPABILITY, name
    if device == 'cpu':
        # Older versions of torch do not tell.
        features: dict[str, Any] = getattr(torch.cpu, 'get_capabilities', dict)()
        found = [name for name in BFLOAT16_INSTRUCTIONS if features.get(name)]
        return bool(found), f'this CPU ({found[-1]})' if found else 'this CPU'
    return False, f'{device} here'


def _dotted(capability: tuple[int, int]) -> str:
    return '.'.join(map(str, capability))

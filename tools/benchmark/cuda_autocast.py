"""Mixed precision of a GPU that is not there."""

import torch


class CudaAutocast(torch.autocast):
    """``torch.autocast`` that does not switch itself off where no driver is found.

    torch's own state of autocast and casts of CUDA's operators are built into every torch for
    CUDA; only the constructor asks for a driver.
    """

    def __init__(
        self,
        device_type: str,
        dtype: torch.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        super().__init__(device_type, dtype, enabled and device_type != 'cuda', cache_enabled)
        self._enabled = enabled


def cuda_autocast(precision: torch.dtype) -> CudaAutocast:
    """Context of autocast to ``precision``, of none for float32."""
    if precision is torch.float32:
        return CudaAutocast('cuda', enabled=False)
    return CudaAutocast('cuda', precision)

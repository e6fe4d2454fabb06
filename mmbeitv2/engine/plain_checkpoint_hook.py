"""Training checkpoints that are read without running code."""

from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner

from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Store mmengine's log history as tensors instead of pickled Python objects.

    Checkpoints then open with ``torch.load(weights_only=True)``, here and in any other project,
    and resume as before.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Turn history buffers and NumPy values into tensors and numbers."""
        hub = checkpoint['message_hub']
        hub['log_scalars'] = {
            name: tuple(torch.as_tensor(np.asarray(values)) for values in history.data)
            for name, history in hub['log_scalars'].items()
        }
        hub['runtime_info'] = {
            name: value.tolist() if isinstance(value, np.ndarray | np.generic) else value
            for name, value in hub['runtime_info'].items()
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Turn the tensors back into history buffers."""
        hub = checkpoint.get('message_hub', {})
        for name, history in hub.get('log_scalars', {}).items():
            if isinstance(history, tuple):
                hub['log_scalars'][name] = HistoryBuffer(*(v.tolist() for v in history))

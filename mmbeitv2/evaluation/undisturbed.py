"""Look at a model that is being trained, and leave no trace in its training."""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Context in which a model is in eval mode; modes and random states are then as before.

    Each module gets its own mode back: some are frozen for good, whatever the whole model's is.

    Args:
        model: not wrapped for several processes.
    """
    modes = [(module, module.training) for module in model.modules()]
    states = random.getstate(), np.random.get_state()
    # Copying the state of a device waits for it: only of those that the model uses.
    devices = sorted({p.device.index for p in model.parameters() if p.is_cuda})
    try:
        with torch.random.fork_rng(devices):
            model.eval()
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        random.setstate(states[0])
        np.random.set_state(states[1])

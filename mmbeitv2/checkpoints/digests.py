"""A checksum of a file's tensors, for formats that have none of their own."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

# Of a safetensors file's metadata.
DIGEST_KEY = 'tensors_sha256'


def digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of names, kinds, shapes and bytes of tensors on the CPU, 64 hex digits."""
    found = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().contiguous()
        found.update(f'{name} {value.dtype} {tuple(value.shape)}\n'.encode())
        found.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()

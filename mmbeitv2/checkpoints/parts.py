"""Files and folders that hold a part of a model, by what wrote them: LoRA, DeepSpeed, FSDP, shards.

What is whole among them is read; the rest is refused by name, for loading it would be a model with
holes.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from mmbeitv2.errors import InputError

LORA = (
    'a LoRA adapter (peft), which holds changes to a model and no model: merge it into its base '
    'model (merge_and_unload()) and save that'
)
LORA_CONFIG = 'adapter_config.json'
LORA_TENSOR = re.compile(r'(^|\.)lora_([AB]|embedding_[AB]|magnitude_vector)(\.|$)')
# All weights of a run without model parallelism, as long as ZeRO leaves them whole.
DEEPSPEED_FILE = 'mp_rank_00_model_states.pt'
DEEPSPEED = (
    'written by DeepSpeed, a part for each process: join them with the zero_to_fp32.py that '
    'DeepSpeed puts beside them, and give the file which that writes'
)
FSDP = (
    'written by FSDP, a part for each process: join them with `python -m '
    'torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE.pth` and give that file, '
    'or save a full state dict'
)
FSDP_SUFFIX = '.distcp'
# Classes of the tensors in such files, which reading weights only refuses.
FSDP_CLASSES = ('DTensor', 'ShardedTensor', 'torch.distributed')
SEVERAL = (
    'of several files, allowed is one, model.safetensors: save it again with a larger '
    'max_shard_size'
)


def whole_file_of(folder: Path) -> Path | None:
    """The file of all weights in a folder that a distributed run wrote; None where it is none.

    Args:
        folder: one that exists.

    Raises:
        ValueError: the folder holds parts; names what wrote them, and the cure.
    """
    parts = sorted(folder.glob('*_model_states.pt'))
    if [path.name for path in parts] == [DEEPSPEED_FILE]:
        return parts[0]
    found = None
    if parts or list(folder.glob('*_optim_states.pt')):
        found = DEEPSPEED
    elif list(folder.glob(f'*{FSDP_SUFFIX}')):
        found = FSDP
    elif (folder / LORA_CONFIG).is_file():
        found = LORA
    elif list(folder.glob('*.index.json')):
        found = SEVERAL
    if found is not None:
        raise InputError(f'{folder} is {"" if found is LORA else "a model "}{found}')
    return None


def check_whole(content: Mapping[str, Any], source: str | Path) -> None:
    """Refuse the content of a file that is a part of a model.

    Args:
        content: a checkpoint, or its weights alone.
        source: of it, for messages.

    Raises:
        ValueError: names what wrote it, and the cure.
    """
    for state in (content, *(v for v in content.values() if isinstance(v, Mapping))):
        if any(isinstance(name, str) and LORA_TENSOR.search(name) for name in state):
            raise InputError(f'{source} is {LORA}')
    if 'ds_version' not in content and 'param_shapes' not in content:
        return
    weights = content.get('module')
    # ZeRO's third stage leaves tensors without elements.
    emptied = isinstance(weights, Mapping) and any(
        isinstance(value, Tensor) and not value.numel() for value in weights.values()
    )
    if emptied or not weights:
        raise InputError(f'{source} is a part of a model {DEEPSPEED}')


def part_by_class(reason: str) -> str | None:
    """What a file is, as the end of a sentence, if torch refused a class that only parts hold.

    Args:
        reason: torch's words.
    """
    if any(name in reason for name in FSDP_CLASSES):
        return f'is a part of a model {FSDP}'
    return None

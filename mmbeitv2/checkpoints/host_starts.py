"""What a host's component would load by its ``init_cfg``: mmengine only logs that nothing fits."""

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.model import PretrainedInit
from mmengine.runner import CheckpointLoader
from torch import Tensor, nn

from mmbeitv2.checkpoints.averages import AVERAGES
from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.reading import WEIGHT_KEYS
from mmbeitv2.checkpoints.translation import find_naming, unwrapped
from mmbeitv2.errors import InputError


def check_host_starts(model: nn.Module) -> None:
    """Refuse a model a part of which was to start from a file of which nothing fits it.

    Parts of this project load their files themselves, whole or not at all.

    Args:
        model: built, not wrapped.

    Raises:
        ValueError: names the part, its file and what to do.
    """
    for name, part in model.named_modules():
        if hasattr(part, 'load_checkpoint'):
            continue
        for start in _starts(getattr(part, 'init_cfg', None)):
            _check(name, part, start)


def _starts(init_cfg: Any) -> Iterator[Mapping[str, Any]]:
    for one in init_cfg if isinstance(init_cfg, list | tuple) else [init_cfg]:
        if isinstance(one, Mapping) and one.get('type') in ('Pretrained', PretrainedInit):
            yield one


def _check(name: str, part: nn.Module, start: Mapping[str, Any]) -> None:
    source, prefix = str(start['checkpoint']), start.get('prefix') or ''
    content = CheckpointLoader.load_checkpoint(source, map_location='cpu')
    # As mmengine finds them; what lies elsewhere is for the message.
    state = unwrapped(_tensors(content.get('state_dict', content)))
    given, own = with_prefix(state, _dotted(prefix)) if prefix else state, part.state_dict()
    naming = find_naming(given) or find_naming(state) or _naming_elsewhere(content)
    foreign = naming is not None and naming.signature not in own
    fit = [n for n, value in given.items() if n in own and own[n].shape == value.shape]
    if fit and not foreign:
        return
    what = f'weights of {naming.project}' if naming is not None else f'{len(given)} tensors'
    target = f'model.{name}' if name else 'model'
    raise InputError(
        f'{target}.init_cfg names {source}, {what}, of which no layer fits {type(part).__name__}, '
        'so that it would train from random weights: give the file to a part of type mmbeitv2.…, '
        "such as backbone=dict(type='mmbeitv2.BEiTViT', init_cfg=…), which reads every layout, or "
        'convert it first: `mmbeitv2 convert-checkpoint FILE NEW.pth --to mmpretrain`'
    )


def _naming_elsewhere(content: Mapping[str, Any]) -> Any:
    for key in (*WEIGHT_KEYS, *AVERAGES):
        inner = content.get(key)
        if isinstance(inner, Mapping):
            return find_naming(unwrapped(_tensors(inner)))
    return None


def _tensors(content: Mapping[str, Any]) -> dict[str, Tensor]:
    return {n: v for n, v in content.items() if isinstance(n, str) and isinstance(v, Tensor)}


def _dotted(prefix: str) -> str:
    return prefix if prefix.endswith('.') else f'{prefix}.'

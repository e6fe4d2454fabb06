"""The files that a config's models start from: there, of the right kind, and read by who asks."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from mmbeitv2.checkpoints.adopting import HOW_TO_START
from mmbeitv2.checkpoints.catalogue import check_kind, nearest_names, published
from mmbeitv2.checkpoints.sources import is_missing, is_named, local_file
from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.registry import SCOPE, type_name

TOKENIZER_VARIABLE = 'tokenizer_checkpoint'
TOKENIZER_KEY = 'model.target_generator.init_cfg.checkpoint'
# What a model is, by a part that only such models have; a classifier else.
KIND_BY_PART = dict(decode_head='segmentation', target_generator='pretraining', decoder='tokenizer')
TOKENIZER_NAME = 'vqkd-b16-clip'
TOKENIZER_CONFIG = 'configs/vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'


class Start(NamedTuple):
    """A component that starts from a file.

    Attributes:
        key: dotted, of the file's name in the config.
        component: whose ``init_cfg`` it is.
    """

    key: str
    component: Mapping[str, Any]

    @property
    def checkpoint(self) -> str:
        """The file's name."""
        return self.component['init_cfg']['checkpoint']

    @property
    def takes_tokenizers(self) -> bool:
        """Whether the component is a tokenizer."""
        return self.key == TOKENIZER_KEY or 'decoder' in self.component


def check_initial_weights(cfg: Config) -> None:
    """Check the files of every ``init_cfg``; published ones are downloaded.

    Raises:
        FileNotFoundError: one is missing.
        ValueError: published weights of the wrong kind, or for a component that cannot read them.
    """
    for start in _starts(cfg.get('model'), 'model'):
        checkpoint, tokenizer = start.checkpoint, start.key == TOKENIZER_KEY
        option = TOKENIZER_VARIABLE if tokenizer and TOKENIZER_VARIABLE in cfg else start.key
        # With a prefix the file's own kind says nothing of the part that is taken.
        if not start.component['init_cfg'].get('prefix'):
            check_kind(checkpoint, 'tokenizer' if start.takes_tokenizers else 'backbone')
        _check_reader(start, cfg)
        if is_missing(checkpoint):
            names = _names_like(checkpoint)
            if tokenizer:
                raise MissingFileError(
                    f'the tokenizer {option}={checkpoint!r} does not exist. Either train it: '
                    f'`python tools/train.py {TOKENIZER_CONFIG}`; or take a published one: '
                    f'`--cfg-options {option}={TOKENIZER_NAME}`, or {option}=PATH of a VQ-KD '
                    f'tokenizer of the official BEiT v2 release or of mmpretrain{names}'
                )
            raise MissingFileError(
                f'{start.key} is {checkpoint!r}, which does not exist; set it with '
                f'`--cfg-options {start.key}=PATH`, or train that model first{names}'
            )
        if is_named(checkpoint):
            _fetch(checkpoint, option, tokenizer)


def check_load_from(cfg: Config) -> None:
    """Check the file of ``load_from``.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: published weights of the wrong kind, or to resume from.
    """
    load_from = cfg.get('load_from')
    if load_from and is_named(load_from):
        if cfg.get('resume'):
            raise InputError(
                f'{load_from} holds weights, and no optimiser and position of a run to resume: '
                f'{HOW_TO_START}'
            )
        model = cfg.get('model') or {}
        kinds = (kind for part, kind in KIND_BY_PART.items() if part in model)
        check_kind(load_from, next(kinds, 'classifier'))
        with local_file(load_from):
            return
    if not load_from or is_remote(load_from):
        return
    # A run goes on from a file; weights come from whatever holds them, such as a run's folder.
    if cfg.get('resume'):
        missing = not Path(load_from).expanduser().is_file()
    else:
        missing = is_missing(load_from)
    if missing:
        raise MissingFileError(
            f'the checkpoint {load_from!r} to load or resume from does not exist; '
            'plain `--resume` takes the newest one of the work directory'
            f'{_names_like(load_from)}'
        )


def is_remote(path: str) -> bool:
    """Whether a path is an address, which is not looked up."""
    return re.match(r'[\w.+-]+:/', path) is not None


def _starts(node: Any, key: str) -> Iterator[Start]:
    """Yield every component below ``node`` whose ``init_cfg`` names a checkpoint."""
    if isinstance(node, Mapping):
        init_cfg = node.get('init_cfg')
        if isinstance(init_cfg, Mapping) and isinstance(init_cfg.get('checkpoint'), str):
            yield Start(f'{key}.init_cfg.checkpoint', node)
        for name, child in node.items():
            yield from _starts(child, f'{key}.{name}')
    elif isinstance(node, list | tuple):
        for index, child in enumerate(node):
            yield from _starts(child, f'{key}.{index}')


def _check_reader(start: Start, cfg: Config) -> None:
    """Refuse published weights where mmengine itself would load them, by a host's names.

    It only logs that no name fits, and the component trains from random weights.
    """
    entry = published(start.checkpoint)
    kind = start.component.get('type')
    if entry is None or entry.publisher == 'mmpretrain' or kind is None:
        return
    name = type_name(kind)
    scope = start.component.get('_scope_') or cfg.get('default_scope')
    if name.startswith(f'{SCOPE}.') or ('.' not in name and scope == SCOPE):
        return
    raise InputError(
        f'{start.key} is {entry.name}, whose tensors have other names than those of {name}, which '
        'would start from random weights: give them to a part of type mmbeitv2.…, such as '
        "backbone=dict(type='mmbeitv2.BEiTViT', …), or convert them first: `python "
        f'tools/convert_checkpoint.py {entry.name} FILE.pth --to mmpretrain`'
    )


def _fetch(checkpoint: str, option: str, tokenizer: bool) -> None:
    """Download named weights now: without a network the run ends before anything is built."""
    try:
        with local_file(checkpoint):
            return
    except MissingFileError as error:
        other = f'train one by `python tools/train.py {TOKENIZER_CONFIG}` and ' * tokenizer
        raise MissingFileError(
            f'{error}; or {other}give another file: `--cfg-options {option}=PATH`'
        ) from error


def _names_like(checkpoint: str) -> str:
    near = nearest_names(checkpoint)
    return f'; published weights with a name like it: {", ".join(near)}' if near else ''

"""What a run starts from: a tokenizer that is there already, a backbone that goes on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import torch

from mmbeitv2.checkpoints.atomic import partial_file
from mmbeitv2.checkpoints.catalogue import check_kind
from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.sources import absolute, is_missing, local_file
from mmbeitv2.checkpoints.translation import (
    TOKENIZER_PART,
    Checkpoint,
    open_checkpoint,
    tokenizer_prefix,
)
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.architecture import (
    pretraining_architecture,
    tokenizer_architecture,
    vit_architecture,
)
from mmbeitv2.exchange.building import build_pretrained, build_tokenizer
from mmbeitv2.exchange.run_notes import read_run_notes
from mmbeitv2.launch.plan import PATCH, Given, Size
from mmbeitv2.launch.plan_configs import Start

TOKENIZER, FROM = '--tokenizer', '--from'
# Narrower layers are trained with the demo's rates, see ``Size.narrow``.
NARROW_BELOW = 384


class Sources(NamedTuple):
    """Checkpoints to start from; None where the run makes its own.

    Attributes:
        tokenizer: config of the ``target_generator``.
        start: of the pretraining.
        given: what both settle in the plan.
        words: what goes on, for the reader.
    """

    tokenizer: dict[str, Any] | None = None
    start: Start | None = None
    given: Given = Given()
    words: str = ''


def check_sources(tokenizer: str | None, start: str | None) -> None:
    """Refuse what surely cannot be started from, before photos are looked at or files fetched.

    Args:
        tokenizer: see :func:`sources`.
        start: likewise.

    Raises:
        UserError: published weights of another kind, or no such file.
    """
    for source, wanted in ((tokenizer, 'tokenizer'), (start, 'backbone')):
        if source is None:
            continue
        check_kind(source, wanted)
        if is_missing(source):
            # It says what there is instead.
            with local_file(source):
                pass


def sources(tokenizer: str | None, start: str | None, out: Path) -> Sources:
    """Read what the weights settle.

    Args:
        tokenizer: checkpoint of a tokenizer, of any known project.
        start: checkpoint of a backbone, or of a whole pretraining model.
        out: folder of the run, where the model to go on from is written.

    Raises:
        UserError: files that cannot be read, are of another kind, or do not fit together.
    """
    if tokenizer is None and start is None:
        return Sources()
    model = None if start is None else open_checkpoint(absolute(start))
    if tokenizer is None and model is not None and with_prefix(model.state, TOKENIZER_PART):
        tokenizer = start
    target = None if tokenizer is None else _target(tokenizer)
    going_on = None if model is None else _start(model, target)
    if going_on is not None and (notes := read_run_notes(model.source)).mean:
        going_on = going_on._replace(normalization=notes.normalization_of_rgb)
    sizes = dict(_image_sizes(target, going_on))
    if len(set(sizes.values())) > 1:
        raise InputError(
            f'{TOKENIZER} takes images of {sizes[TOKENIZER]} pixels but {FROM} of {sizes[FROM]}: '
            'give two that belong together'
        )
    option, image_size = next(iter(sizes.items()))
    given = Given(
        None if going_on is None else _shape(going_on.parts),
        image_size,
        None if target is None else target['quantizer']['num_codes'],
        option,
    )
    words = ''
    if going_on is not None:
        whole = going_on.whole is not None
        words = f'{start}: ' + (
            'backbone, aggregation and head go on'
            if whole
            else 'the backbone goes on; aggregation and head are new, as the codes are'
        )
        if whole:
            going_on = going_on._replace(whole=str(_write_whole(model, target, out)))
    return Sources(target, going_on, given, words)


def _target(source: str) -> dict[str, Any]:
    checkpoint = open_checkpoint(absolute(source))
    state = with_prefix(checkpoint.state, tokenizer_prefix(checkpoint))
    architecture = tokenizer_architecture(state)
    _check(architecture['encoder'], TOKENIZER, source)
    encoder = {
        name: value
        for name, value in architecture['encoder'].items()
        if name in ('img_size', 'embed_dim', 'depth', 'num_heads', 'mlp_ratio')
    }
    return dict(
        encoder=encoder,
        quantizer=architecture['quantizer'],
        init_cfg=dict(type='Pretrained', checkpoint=absolute(source)),
    )


def _start(model: Checkpoint, target: Mapping[str, Any] | None) -> Start:
    if model.kind == 'tokenizer':
        raise InputError(f'{FROM} names {model}, allowed: a backbone. Give it to {TOKENIZER}')
    if model.kind != 'pretraining':
        backbone = vit_architecture(with_prefix(model.state, 'backbone.'))
        _check(backbone, FROM, model.source)
        arch = {k: backbone.pop(k) for k in ('embed_dim', 'depth', 'num_heads', 'mlp_ratio')}
        width = dict(embed_dim=arch['embed_dim'])
        scale = dict(init_values=backbone['init_values'])
        layer = max(1, 3 * arch['depth'] // 4)
        neck = dict(width, num_heads=arch['num_heads'], layer=layer, depth=2, **scale)
        parts = dict(backbone=dict(arch=arch, **backbone), neck=neck, head=dict(width))
        return Start(parts, None, model.source)
    parts = pretraining_architecture(model.state)
    _check(parts['backbone'], FROM, model.source)
    whole = target is not None and _belong_together(model, parts, target)
    return Start(parts, model.source if whole else None, model.source)


def _belong_together(
    model: Checkpoint, parts: Mapping[str, Any], target: Mapping[str, Any]
) -> bool:
    """Whether the head has learned the codes of this tokenizer, as far as the files tell."""
    if parts['head']['num_codes'] != target['quantizer']['num_codes']:
        return False
    own = with_prefix(model.state, f'{TOKENIZER_PART}quantize.')
    if not own:
        return True
    checkpoint = open_checkpoint(target['init_cfg']['checkpoint'])
    given = with_prefix(checkpoint.state, f'{tokenizer_prefix(checkpoint)}quantize.')
    return torch.equal(own['embedding.weight'], given['embedding.weight'])


def _write_whole(model: Checkpoint, target: Mapping[str, Any], out: Path) -> Path:
    """The model to go on from, with its tokenizer, in this project's names."""
    pretrained = build_pretrained(model, with_tokenizer=False, report=False)
    tokenizer = open_checkpoint(target['init_cfg']['checkpoint'])
    pretrained.set_tokenizer(build_tokenizer(tokenizer, report=False))
    path = (out / 'start.pth').resolve()
    with partial_file(path) as partial:
        torch.save(dict(state_dict=pretrained.state_dict()), partial)
    return path


def _image_sizes(
    target: Mapping[str, Any] | None, start: Start | None
) -> Iterator[tuple[str, int]]:
    for option, part in (
        (TOKENIZER, target and target['encoder']),
        (FROM, start and start.parts['backbone']),
    ):
        if part is not None:
            yield option, part['img_size']


def _check(vit: Mapping[str, Any], option: str, source: str) -> None:
    """Refuse what the plan's photos cannot be shown to."""
    patch, channels, side = vit['patch_size'], vit['in_chans'], vit['img_size']
    if (patch, channels) != (PATCH, 3) or not isinstance(side, int):
        raise InputError(
            f'{option} names {source}, which has patches of {patch} pixels, {channels} channels '
            f'and images of {side} pixels, allowed: patches of {PATCH}, 3 channels, square images. '
            'Write its configs by hand: docs/own_data.md'
        )
    if side < 2 * PATCH:
        raise InputError(
            f'{option} names {source}, which does not say for which image size it was trained: it '
            'has no positions of its own. Give a checkpoint of pretraining'
        )


def _shape(parts: Mapping[str, Any]) -> Size:
    backbone, neck = parts['backbone'], parts['neck'] or {}
    arch = backbone['arch']
    return Size(
        embed_dim=arch['embed_dim'],
        depth=arch['depth'],
        num_heads=arch['num_heads'],
        layer=neck.get('layer', max(1, 3 * arch['depth'] // 4)),
        encoder_depth=arch['depth'],
        code_dim=16 if arch['embed_dim'] < NARROW_BELOW else 32,
        image_size=backbone['img_size'],
        narrow=arch['embed_dim'] < NARROW_BELOW,
    )

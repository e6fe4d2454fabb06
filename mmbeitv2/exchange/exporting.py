"""Take a checkpoint to another project: its names, and what only it stores."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mmbeitv2.checkpoints.layouts import (
    MMPRETRAIN_BACKBONE,
    MMPRETRAIN_PRETRAINING,
    MMPRETRAIN_TOKENIZER,
    OFFICIAL,
    OFFICIAL_SEGMENTATION,
    OFFICIAL_TOKENIZER,
    TRANSFORMERS_FILE_VIT,
    TRANSFORMERS_HEADS,
)
from mmbeitv2.checkpoints.naming import Rules, num_layers, rename_to_theirs, within
from mmbeitv2.checkpoints.soundness import EXTRA_STATE
from mmbeitv2.checkpoints.translation import AGGREGATION_LAYER, INDEX, Checkpoint, split_qkv
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.building import FC_NORM, NORM
from mmbeitv2.models.position import SHARED_TABLE, TABLE, expand_relative_position_bias, table_grid

BACKBONE = ('backbone.',)
CLASSIFIER = ('backbone.', 'head.fc.')
# timm's model has no mask token.
TIMM = tuple(
    f'backbone.{part}'
    for part in ('cls_token', 'pos_embed', 'patch_embed', 'rel_pos_bias', 'blocks', 'norm', 'fc_')
)


@dataclass(frozen=True)
class Target:
    """How one kind of checkpoint is written for one project.

    Attributes:
        rules: table of (ours, theirs).
        parts: beginnings of the tensors, ours, that the project has a place for.
        needs: tensors, ours, of which at least one must be there.
        refuses: tensors, ours, of models that the project cannot build.
        expand: the project's model has a relative position bias in every layer only.
        index: the project stores the index of every relative position bias.
        split: the project has three projections instead of ``attn.qkv``.
        complete: adds tensors, theirs, that the project stores and we do not.
    """

    rules: Rules = ()
    parts: tuple[str, ...] = ('',)
    needs: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    expand: bool = False
    index: bool = False
    split: bool = False
    complete: Callable[[dict[str, Tensor]], None] | None = None


@dataclass(frozen=True)
class Export:
    """A checkpoint for another project.

    Attributes:
        state: tensors by their names.
        kept: the tensors of the source in it, by our names: what the way back gives.
        left_out: names, ours, that the project has no place for.
        noted: grids and heads, by our names, that the project does not store.
    """

    state: dict[str, Tensor]
    kept: dict[str, Tensor]
    left_out: list[str]
    noted: dict[str, Tensor] = field(default_factory=dict)


def _complete_codebook(state: dict[str, Tensor]) -> None:
    """Two tensors that the official quantizer keeps and does not read."""
    state['quantize.embedding.cluster_size'] = state['quantize.cluster_size'].clone()
    state['quantize.embedding.embed_avg'] = state['quantize.embedding.weight'].clone()


_OURS = {
    kind: Target()
    for kind in ('pretraining', 'tokenizer', 'segmentation', 'classifier', 'backbone')
}
TARGETS: dict[str, dict[str, Target]] = {
    'mmbeitv2': _OURS,
    'safetensors': _OURS,
    'official': {
        'pretraining': Target(OFFICIAL, ('backbone.', 'neck.cls_pt_', 'head.'), index=True),
        'tokenizer': Target(
            OFFICIAL_TOKENIZER,
            ('encoder.', 'decoder.', 'quantize.', 'encode_task_layer.', 'decode_task_layer.'),
            complete=_complete_codebook,
        ),
        'segmentation': Target(
            OFFICIAL_SEGMENTATION,
            ('backbone.', 'neck.', 'decode_head.', 'auxiliary_head.'),
            index=True,
        ),
        'classifier': Target(OFFICIAL, CLASSIFIER, needs=(FC_NORM,), index=True),
        'backbone': Target(OFFICIAL, BACKBONE, index=True),
    },
    'timm': {
        'pretraining': Target(OFFICIAL, TIMM, expand=True),
        'classifier': Target(OFFICIAL, (*TIMM, 'head.fc.'), needs=(FC_NORM,), expand=True),
        'backbone': Target(OFFICIAL, TIMM, needs=(NORM, FC_NORM), expand=True),
    },
    'transformers': {
        'pretraining': Target(within('backbone', '', TRANSFORMERS_FILE_VIT), BACKBONE, split=True),
        'classifier': Target(
            (*within('backbone', 'beit', TRANSFORMERS_FILE_VIT), *TRANSFORMERS_HEADS),
            CLASSIFIER,
            needs=(FC_NORM,),
            split=True,
        ),
        'backbone': Target(
            within('backbone', '', TRANSFORMERS_FILE_VIT),
            BACKBONE,
            needs=(NORM, FC_NORM),
            split=True,
        ),
    },
    # Its head and mask token too: what no model of features has, and no normalised tokens.
    'transformers-mim': {
        'pretraining': Target(
            (*TRANSFORMERS_HEADS, *within('backbone', 'beit', TRANSFORMERS_FILE_VIT)),
            ('backbone.', 'head.lm_head.'),
            needs=('head.lm_head.weight',),
            split=True,
        ),
    },
    'mmpretrain': {
        'pretraining': Target(
            MMPRETRAIN_PRETRAINING,
            ('backbone.', 'neck.cls_pt_layers.', 'head.', 'target_generator.'),
            needs=('neck.cls_pt_layers.0.norm1.weight',),
            refuses=('neck.cls_pt_norm.weight', 'head.cls_pt_lm_head.weight'),
            index=True,
        ),
        'tokenizer': Target(
            MMPRETRAIN_TOKENIZER, ('encoder.', 'quantize.', 'encode_task_layer.'), index=True
        ),
        'classifier': Target(
            within('backbone', 'backbone', MMPRETRAIN_BACKBONE),
            CLASSIFIER,
            needs=(FC_NORM,),
            index=True,
        ),
        'backbone': Target(
            within('backbone', 'backbone', MMPRETRAIN_BACKBONE),
            BACKBONE,
            needs=(NORM, FC_NORM),
            index=True,
        ),
    },
}


def export(checkpoint: Checkpoint, project: str) -> Export:
    """Bring a checkpoint under the names of ``project``, a key of ``TARGETS``.

    Raises:
        ValueError: the project has no model of this kind.
    """
    kinds = TARGETS[project]
    if checkpoint.kind not in kinds:
        others = [name for name, known in TARGETS.items() if checkpoint.kind in known]
        raise InputError(
            f'{project} has no model for {checkpoint}: it takes {", ".join(kinds)}; for a '
            f'{checkpoint.kind} choose one of {", ".join(others)}.'
        )
    target = kinds[checkpoint.kind]
    _check(checkpoint, project, target)
    kept = {n: v for n, v in checkpoint.state.items() if n.startswith(target.parts)}
    noted = {}
    if kinds is not _OURS:
        noted = {
            n: v for n, v in kept.items() if n.endswith(EXTRA_STATE) and n != AGGREGATION_LAYER
        }
        kept = {n: v for n, v in kept.items() if n not in noted}
        _check_square(checkpoint, project, noted)
    if target.expand:
        kept = _expand_shared_bias(kept)
    state = kept | (_indices(kept) if target.index else {})
    state = rename_to_theirs(split_qkv(state) if target.split else state, target.rules)
    if target.complete is not None:
        target.complete(state)
    if any(name.startswith('neck.cls_pt_layers.') for name in kept):
        kept[AGGREGATION_LAYER] = checkpoint.state[AGGREGATION_LAYER]
    left_out = [
        n
        for n in checkpoint.state
        if not n.startswith((*target.parts, AGGREGATION_LAYER)) and not n.endswith(EXTRA_STATE)
    ]
    return Export(state, kept, left_out, noted)


def _check_square(checkpoint: Checkpoint, project: str, noted: dict[str, Tensor]) -> None:
    for note in noted.values():
        rows, columns, _ = note.tolist()
        if rows != columns:
            raise InputError(
                f'{checkpoint} has positions for {rows} × {columns} patches, but a file of '
                f'{project} does not store its grid and is taken for a square one: write it for '
                'mmbeitv2 or safetensors.'
            )


def _check(checkpoint: Checkpoint, project: str, target: Target) -> None:
    if target.needs and not any(name in checkpoint.state for name in target.needs):
        raise InputError(
            f'{checkpoint} cannot become a checkpoint of {project}, whose {checkpoint.kind} model '
            f'needs a tensor {" or ".join(target.needs)}.'
        )
    for name in target.refuses:
        if name in checkpoint.state:
            raise InputError(
                f'{checkpoint} cannot become a checkpoint of {project}, whose {checkpoint.kind} '
                f'model has no place for {name}.'
            )


def _expand_shared_bias(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The shared relative position bias as a table of its own in every layer."""
    state = dict(state)
    shared = state.pop(f'backbone.{SHARED_TABLE}', None)
    if shared is not None:
        for i in range(num_layers(state, 'backbone.blocks')):
            state[f'backbone.blocks.{i}.attn.{TABLE}'] = shared.clone()
    return state


def _indices(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Buffers int64 ``(1 + N, 1 + N)`` of other projects: the row of the table for every pair."""
    indices = {}
    for name, table in state.items():
        if name.endswith(TABLE):
            # What a table of its own row numbers expands to.
            rows = torch.arange(table.shape[0]).unsqueeze(1)
            (index,) = expand_relative_position_bias(rows, table_grid(table))
            indices[name.replace(TABLE, INDEX)] = index.contiguous()
    return indices

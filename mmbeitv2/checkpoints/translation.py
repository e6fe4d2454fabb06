"""Any known project's checkpoint under our names, recognised by its tensors."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from mmbeitv2.checkpoints.catalogue import check_kind
from mmbeitv2.checkpoints.layouts import NAMINGS, Naming
from mmbeitv2.checkpoints.naming import num_layers, rename_to_ours, with_prefix
from mmbeitv2.checkpoints.reading import read_weights
from mmbeitv2.checkpoints.soundness import EXTRA_STATE
from mmbeitv2.errors import InputError

# Buffers that are computed from the size of the grid.
INDEX = 'relative_position_index'
# Names of wrappers around a whole model: DDP, torch.compile.
WRAPPERS = ('module.', '_orig_mod.')
AGGREGATION_LAYER = 'neck._extra_state'
# By it a vision Transformer is known among the parts of a model.
PATCHES = 'patch_embed.proj.weight'
CODEBOOK = 'quantize.embedding.weight'
# The tokenizer inside a pretraining model.
TOKENIZER_PART = 'target_generator.'
# What a checkpoint holds, by a tensor (ours) that only this kind has; a backbone has none.
KINDS = {
    'head.lm_head.weight': 'pretraining',
    CODEBOOK: 'tokenizer',
    'decode_head.conv_seg.weight': 'segmentation',
    'head.fc.weight': 'classifier',
}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint under our names.

    Attributes:
        source: where it was read, for messages.
        project: whose naming it came in.
        kind: ``'pretraining'``, ``'tokenizer'``, ``'segmentation'``, ``'classifier'`` or
            ``'backbone'``.
        state: tensors by our names.
        filled: names of tensors that the file leaves out because they follow from the others.
    """

    source: str
    project: str
    kind: str
    state: dict[str, Tensor]
    filled: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f'{self.source} ({self.project} {self.kind})'


def open_checkpoint(
    source: str | Path,
    trust: bool = False,
    prefix: str = '',
    img_size: int | tuple[int, int] | None = None,
    wanted: str | None = None,
    ema: bool = False,
) -> Checkpoint:
    """Read a checkpoint of any known project.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`.
        trust: open a file that holds Python objects beside weights, which can run any code.
        prefix: with a dot, name of the model within a larger one that the file holds; where no
            tensor has it, the whole file is taken.
        img_size: side in pixels, or ``(height, width)``, of the images that positions were learned
            for, where the file does not note it; square unless given.
        wanted: what the weights are for, see :func:`mmbeitv2.checkpoints.catalogue.check_kind`;
            published weights of another kind are not downloaded, unless a part of them is taken.
        ema: see :func:`mmbeitv2.checkpoints.reading.read_weights`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file holds code, or tensors of no known naming.
    """
    if wanted is not None and not prefix:
        check_kind(source, wanted)
    state, metadata = read_weights(source, trust, ema=ema)
    checkpoint = translate(with_prefix(state, prefix) or state, str(source), metadata)
    if img_size is not None:
        _note_grid(checkpoint, (img_size, img_size) if isinstance(img_size, int) else img_size)
    return checkpoint


def translate(
    state: dict[str, Tensor], source: str, metadata: dict[str, str] | None = None
) -> Checkpoint:
    """Bring tensors of any known project under our names, see :func:`open_checkpoint`."""
    state = unwrapped(state)
    naming = recognise(state, source)
    state = {n: v for n, v in state.items() if n not in naming.unread and not n.endswith(INDEX)}
    state = merge_qkv(rename_to_ours(state, naming.rules))
    kind = next((kind for name, kind in KINDS.items() if name in state), 'backbone')
    before = set(state)
    for fill in (_fill_qv_bias, _fill_initted, _aggregation_layer_filler(metadata or {})):
        fill(state)
    filled = [name for name in state if name not in before]
    return Checkpoint(source, naming.project, kind, state, filled)


def unwrapped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by the names that they have within the wrappers of a whole model."""
    for wrapper in WRAPPERS:
        state = {name.removeprefix(wrapper): value for name, value in state.items()}
    return state


def find_naming(state: dict[str, Tensor]) -> Naming | None:
    """The naming of a checkpoint, None where it is none of the known ones."""
    return next((naming for naming in NAMINGS if naming.signature in state), None)


def recognise(state: dict[str, Tensor], source: str) -> Naming:
    """Find the naming of a checkpoint.

    Raises:
        ValueError: none of the known ones.
    """
    naming = find_naming(state)
    if naming is not None:
        return naming
    projects = ', '.join(dict.fromkeys(naming.project for naming in NAMINGS))
    raise InputError(
        f'{source} is no checkpoint of a BEiT model that is known here ({projects}): it holds '
        f'{", ".join(list(state)[:3])}, …'
    )


def tokenizer_prefix(checkpoint: Checkpoint) -> str:
    """Name of the tokenizer within a checkpoint's model, with a dot: itself or a part.

    Raises:
        ValueError: there is none.
    """
    for prefix in ('', TOKENIZER_PART):
        if f'{prefix}{CODEBOOK}' in checkpoint.state:
            return prefix
    raise InputError(
        f'{checkpoint} holds no tokenizer: it has no tensor {CODEBOOK}; it holds '
        f'{", ".join(list(checkpoint.state)[:3])}, …'
    )


def merge_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join projections ``attn.q``, ``attn.k``, ``attn.v`` into ``attn.qkv`` and two biases.

    A bias on keys is dropped: it adds the same number to all logits of a query, which softmax does
    not see.
    """
    merged = {}
    for name, value in state.items():
        part, _, leaf = name.rpartition('attn.')
        attention = f'{part}attn.'
        if leaf == 'q.weight':
            for x in 'kv':
                if f'{attention}{x}.weight' not in state:
                    raise InputError(
                        f'the checkpoint has {name} but no {attention}{x}.weight: it is incomplete.'
                    )
            others = (state[f'{attention}{x}.weight'] for x in 'kv')
            merged[f'{attention}qkv.weight'] = torch.cat([value, *others])
        elif leaf in ('q.bias', 'v.bias'):
            merged[f'{attention}{leaf[0]}_bias'] = value
        elif leaf == 'qkv.bias':
            merged[f'{attention}q_bias'], _, merged[f'{attention}v_bias'] = value.chunk(3)
        elif leaf not in ('k.weight', 'k.bias', 'v.weight'):
            merged[name] = value
    return merged


def split_qkv(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of :func:`merge_qkv`."""
    split = {}
    for name, value in state.items():
        if name.endswith('attn.qkv.weight'):
            for x, weight in zip('qkv', value.chunk(3)):
                split[name.replace('qkv', x)] = weight
        elif name.endswith(('attn.q_bias', 'attn.v_bias')):
            split[name.replace('_bias', '.bias')] = value
        else:
            split[name] = value
    return split


def _fill_qv_bias(state: dict[str, Tensor]) -> None:
    """Attention without biases is attention with biases of zero."""
    for name in [n for n in state if n.endswith('attn.qkv.weight')]:
        for bias in ('q_bias', 'v_bias'):
            state.setdefault(
                name.replace('qkv.weight', bias), state[name].new_zeros(state[name].shape[1:])
            )


def _fill_initted(state: dict[str, Tensor]) -> None:
    """A codebook in a file has been set, whether the file says so or not."""
    for name in [n for n in state if n.endswith(CODEBOOK)]:
        state.setdefault(name.replace('weight', 'initted'), torch.ones(1))


def _note_grid(checkpoint: Checkpoint, img_size: tuple[int, int]) -> None:
    """Note the grid of every vision Transformer in a checkpoint that does not note its own."""
    state = checkpoint.state
    # A decoder sees codes, one a patch, on its encoder's grid.
    sizes = [state[n].shape[-1] for n in state if n.endswith(PATCHES) and not _is_decoder(n)]
    for name in [n for n in state if n.endswith(PATCHES)]:
        patch_size = max(sizes) if _is_decoder(name) else state[name].shape[-1]
        height, width = img_size
        if height % patch_size or width % patch_size or min(img_size) < 1:
            raise InputError(
                f'img_size is {img_size}, but {checkpoint} has patches of {patch_size} pixels: '
                'give multiples of that, height first'
            )
        grid = [height // patch_size, width // patch_size]
        note = f'{name.removesuffix(PATCHES)}{EXTRA_STATE}'
        noted = state.get(note)
        if noted is not None and noted.tolist()[:2] != grid:
            rows, columns, _ = noted.tolist()
            raise InputError(
                f'img_size is {img_size}, but {checkpoint} notes that it was trained with '
                f'{rows * patch_size} × {columns * patch_size} pixels: leave img_size out'
            )
        if noted is None:
            state[note] = torch.tensor([*grid, 0])
            checkpoint.filled.append(note)


def _is_decoder(name: str) -> bool:
    return 'decoder' in name.split('.')


def _aggregation_layer_filler(metadata: dict[str, str]) -> Callable[[dict[str, Tensor]], None]:
    """Filler for l, the layer whose patches are aggregated, which no other project's tensors show.

    It is what our conversion noted in the file, else three layers before the last, as in the
    paper's models (9 of 12, 21 of 24).
    """

    def fill(state: dict[str, Tensor]) -> None:
        if AGGREGATION_LAYER in state or not any(
            name.startswith('neck.cls_pt_layers.') for name in state
        ):
            return
        noted = metadata.get('layer', num_layers(state, 'backbone.blocks') - 3)
        if not str(noted).isdecimal():
            raise InputError(
                f'the checkpoint notes layer {noted!r} for patch aggregation, allowed: a number of '
                'layers.'
            )
        state[AGGREGATION_LAYER] = torch.tensor(int(noted))

    return fill

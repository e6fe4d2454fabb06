"""Write converted checkpoints: atomically, never over a file unless asked to."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from mmbeitv2.checkpoints.digests import DIGEST_KEY, digest
from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.reading import METADATA_KEY
from mmbeitv2.errors import ExistingFileError, InputError
from mmbeitv2.exchange.architecture import vit_architecture
from mmbeitv2.exchange.building import FC_NORM

# Under which key a PyTorch file of each project holds its weights.
CONTAINERS = {
    'mmbeitv2': 'state_dict',
    'mmpretrain': 'state_dict',
    'official': 'model',
    'timm': 'state_dict',
}
PYTORCH_SUFFIXES = ('.pth', '.pt', '.bin')
SAFETENSORS_SUFFIX = '.safetensors'
LAYER_SCALE = 0.1


def check_destination(path: Path, project: str, overwrite: bool) -> None:
    """Refuse a destination before anything is read.

    Args:
        path: the file to write; for transformers the folder.
        project: a key of ``TARGETS``.
        overwrite: whether an existing file may be replaced.

    Raises:
        FileExistsError: there is something already.
        ValueError: the name does not suit the project.
    """
    suffixes: tuple[str, ...] = (*PYTORCH_SUFFIXES, SAFETENSORS_SUFFIX)
    if project == 'safetensors':
        suffixes = (SAFETENSORS_SUFFIX,)
    if project == 'transformers':
        if path.suffix in suffixes or path.is_file():
            raise InputError(
                f'{path} names a file, but transformers loads a folder: give a folder.'
            )
    elif path.suffix not in suffixes or path.is_dir():
        raise InputError(f'{path} must be a file whose name ends in {", ".join(suffixes)}.')
    written = [path]
    if project == 'transformers':
        written = [path / 'config.json', path / 'model.safetensors']
    present = [str(file) for file in written if file.exists()]
    if present and not overwrite:
        raise ExistingFileError(
            f'{" and ".join(present)} exists: choose another name or --overwrite.'
        )


def write_file(
    path: Path, project: str, state: dict[str, Tensor], metadata: dict[str, str]
) -> None:
    """Write weights and metadata into one file, by its suffix safetensors or PyTorch.

    In safetensors the metadata is the file's header, in PyTorch the dictionary ``mmbeitv2`` beside
    the weights.
    """
    state = {name: value.detach().clone().contiguous() for name, value in state.items()}
    if path.suffix == SAFETENSORS_SUFFIX:
        header = {'format': 'pt', DIGEST_KEY: digest(state), **metadata}
        _replace(path, lambda file: save_file(state, file, header))
    else:
        content = {METADATA_KEY: metadata, CONTAINERS[project]: state}
        _replace(path, lambda file: torch.save(content, file))


def write_transformers(
    folder: Path,
    state: dict[str, Tensor],
    metadata: dict[str, str],
    config: dict[str, Any],
) -> None:
    """Write a folder that transformers' ``from_pretrained`` loads."""
    write_file(folder / 'model.safetensors', 'transformers', state, metadata)
    text = json.dumps(config, indent=2) + '\n'
    _replace(folder / 'config.json', lambda file: Path(file).write_text(text, encoding='utf-8'))


def transformers_config(kept: dict[str, Tensor], num_heads: int | None = None) -> dict[str, Any]:
    """Configuration for transformers' ``BeitConfig`` of a backbone or classifier, as a dictionary.

    Args:
        kept: tensors by our names.
        num_heads: heads, where the tensors do not show them; width / 64 unless given.
    """
    vit = vit_architecture(with_prefix(kept, 'backbone.'), num_heads)
    config = dict(
        model_type='beit',
        architectures=['BeitModel'],
        hidden_size=vit['embed_dim'],
        num_hidden_layers=vit['depth'],
        num_attention_heads=vit['num_heads'],
        intermediate_size=round(vit['embed_dim'] * vit['mlp_ratio']),
        image_size=vit['img_size'],
        patch_size=vit['patch_size'],
        num_channels=vit['in_chans'],
        layer_norm_eps=1e-6,
        # Only whether it is there matters to loading: trained scales have any mean.
        layer_scale_init_value=0.0 if vit['init_values'] is None else LAYER_SCALE,
        drop_path_rate=0.0,
        use_mask_token='backbone.mask_token' in kept,
        use_absolute_position_embeddings=vit['use_abs_pos_emb'],
        use_relative_position_bias=vit['use_rel_pos_bias'],
        use_shared_relative_position_bias=vit['use_shared_rel_pos_bias'],
        use_mean_pooling=FC_NORM in kept,
    )
    if 'head.fc.weight' in kept:
        num_labels = kept['head.fc.weight'].shape[0]
        config.update(architectures=['BeitForImageClassification'], num_labels=num_labels)
    return config


def _replace(path: Path, write: Callable[[str], object]) -> None:
    """Let ``write`` fill a temporary file, then give it its name in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f'.{path.name}.{os.getpid()}.part')
    try:
        write(str(temporary))
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)

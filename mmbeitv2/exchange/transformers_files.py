"""The two files beside the weights in transformers' folder: of the model and of its photos."""

from typing import Any

from PIL.Image import Resampling
from torch import Tensor

from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.exchange.architecture import vit_architecture
from mmbeitv2.exchange.building import FC_NORM
from mmbeitv2.exchange.run_notes import RunNotes

# What the official base models began with. Only whether there is one matters to loading.
LAYER_SCALE = 0.1


def transformers_config(
    kept: dict[str, Tensor], num_heads: int | None = None, notes: RunNotes | None = None
) -> dict[str, Any]:
    """Configuration for transformers' ``BeitConfig`` of a backbone or classifier, as a dictionary.

    Args:
        kept: tensors by our names.
        num_heads: heads, where the tensors do not show them; width / 64 unless given.
        notes: of the run, for the names of classes and the layer scale that it began with.
    """
    notes = notes or RunNotes()
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
        layer_scale_init_value=0.0 if vit['init_values'] is None else _layer_scale(notes),
        drop_path_rate=0.0,
        use_mask_token='backbone.mask_token' in kept,
        use_absolute_position_embeddings=vit['use_abs_pos_emb'],
        use_relative_position_bias=vit['use_rel_pos_bias'],
        use_shared_relative_position_bias=vit['use_shared_rel_pos_bias'],
        use_mean_pooling=FC_NORM in kept,
    )
    if 'head.fc.weight' in kept:
        config['architectures'] = ['BeitForImageClassification']
        config.update(_labels(notes.classes, kept['head.fc.weight'].shape[0]))
    if 'head.lm_head.weight' in kept:
        # With it the encoder does not normalise, as the head's own norm does.
        config.update(architectures=['BeitForMaskedImageModeling'], use_mean_pooling=True)
        config.update(vocab_size=kept['head.lm_head.weight'].shape[0])
    return config


def preprocessor_config(img_size: int, notes: RunNotes) -> dict[str, Any]:
    """Configuration for transformers' ``AutoImageProcessor``, as a dictionary.

    transformers' own BEiT normalises by 0.5, and stretches photos to a square; BEiT v2 sees
    ImageNet's normalisation and the centre. The processor that crops so in every release is CLIP's.

    Args:
        img_size: side in pixels of what the model sees.
        notes: of the run.

    Raises:
        ValueError: the model sees BGR.
    """
    mean, std = notes.normalization_of_rgb
    return dict(
        image_processor_type='CLIPImageProcessor',
        do_convert_rgb=True,
        do_resize=True,
        size=dict(shortest_edge=notes.resized_side(img_size)),
        resample=int(Resampling.BICUBIC),
        do_center_crop=True,
        crop_size=dict(height=img_size, width=img_size),
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(mean),
        image_std=list(std),
    )


def _layer_scale(notes: RunNotes) -> float:
    return LAYER_SCALE if notes.layer_scale is None else notes.layer_scale


def _labels(classes: tuple[str, ...], number: int) -> dict[str, Any]:
    if len(classes) != number:
        return dict(num_labels=number)
    return dict(
        id2label={str(i): name for i, name in enumerate(classes)},
        label2id={name: i for i, name in enumerate(classes)},
    )

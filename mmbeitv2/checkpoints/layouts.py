"""How other projects call the tensors of BEiT v2 models: one table of (ours, theirs) per naming.

Our names are those of a whole model: ``backbone.``, ``neck.``, ``head.`` and ``target_generator.``
of pretraining, ``backbone.`` and ``head.fc.`` of an image classifier, ``backbone.``, ``neck.`` and
the heads of a segmentor, ``encoder.``, ``decoder.``, ``quantize.`` and the task layers of VQ-KD.
Inside a vision Transformer they are the official release's.
"""

from dataclasses import dataclass, field

from mmbeitv2.checkpoints.naming import Rules, within

VIT_PARTS = (
    'cls_token',
    'mask_token',
    'pos_embed',
    'patch_embed',
    'rel_pos_bias',
    'blocks',
    'norm',
    'fc_norm',
    # This project's note of grid and heads.
    '_extra_state',
)

# The official release, and timm after it: parts of a model without prefixes.
OFFICIAL_BACKBONE: Rules = within('backbone', '', [(part, part) for part in VIT_PARTS])
OFFICIAL: Rules = (
    *OFFICIAL_BACKBONE,
    ('neck.cls_pt_layers', 'cls_pt_layers'),
    ('neck.cls_pt_norm', 'cls_pt_norm'),
    ('head.lm_head', 'lm_head'),
    ('head.cls_pt_lm_head', 'cls_pt_lm_head'),
    ('head.fc', 'head'),
)
# Of its two counters of vectors per code only the quantizer's is a moving average.
OFFICIAL_TOKENIZER: Rules = (('quantize.embedding.cluster_size', 'quantize.cluster_size'),)
# Its segmentation models keep the pyramid inside the backbone.
OFFICIAL_SEGMENTATION: Rules = (
    ('neck.upsample_4x', 'backbone.fpn1'),
    ('neck.upsample_2x', 'backbone.fpn2'),
)

# mmpretrain's BEiT, and mmsegmentation's of the same origin.
MMPRETRAIN_LAYER: Rules = (
    ('norm1', 'ln1'),
    ('norm2', 'ln2'),
    ('mlp.fc1', 'ffn.layers.0.0'),
    ('mlp.fc2', 'ffn.layers.1'),
)
MMPRETRAIN_VIT: Rules = (
    ('patch_embed.proj', 'patch_embed.projection'),
    *within('blocks.*', 'layers.*', MMPRETRAIN_LAYER),
    ('blocks', 'layers'),
)
MMPRETRAIN_BACKBONE: Rules = (*MMPRETRAIN_VIT, ('norm', 'ln1'), ('fc_norm', 'ln2'))
# Its tokenizer normalises all tokens by ``ln1`` before [CLS] is dropped: the same numbers.
MMPRETRAIN_TOKENIZER: Rules = (
    *within('encoder', 'encoder', (*MMPRETRAIN_VIT, ('fc_norm', 'ln1'))),
    *within('decoder', 'decoder', (*MMPRETRAIN_VIT, ('fc_norm', 'ln1'))),
    *OFFICIAL_TOKENIZER,
)
# Its pretraining model keeps the final norm in the neck.
MMPRETRAIN_PRETRAINING: Rules = (
    *within('target_generator', 'target_generator', MMPRETRAIN_TOKENIZER),
    *within('neck.cls_pt_layers.*', 'neck.patch_aggregation.*', MMPRETRAIN_LAYER),
    ('neck.cls_pt_layers', 'neck.patch_aggregation'),
    ('backbone.norm', 'neck.norm'),
    ('head.lm_head', 'head.cls_head'),
    *within('backbone', 'backbone', MMPRETRAIN_VIT),
)

# transformers' Beit: the names of its files, and the attribute names of its version 5.
TRANSFORMERS_LAYER: Rules = (
    ('norm1', 'layernorm_before'),
    ('norm2', 'layernorm_after'),
    ('gamma_1', 'lambda_1'),
    ('gamma_2', 'lambda_2'),
)
TRANSFORMERS_FILE_LAYER: Rules = (
    *TRANSFORMERS_LAYER,
    ('attn.q', 'attention.attention.query'),
    ('attn.k', 'attention.attention.key'),
    ('attn.v', 'attention.attention.value'),
    ('attn.proj', 'attention.output.dense'),
    (
        'attn.relative_position_bias_table',
        'attention.attention.relative_position_bias.relative_position_bias_table',
    ),
    ('mlp.fc1', 'intermediate.dense'),
    ('mlp.fc2', 'output.dense'),
)
TRANSFORMERS_5_LAYER: Rules = (
    *TRANSFORMERS_LAYER,
    ('attn.q', 'attention.q_proj'),
    ('attn.k', 'attention.k_proj'),
    ('attn.v', 'attention.v_proj'),
    ('attn.proj', 'attention.o_proj'),
    (
        'attn.relative_position_bias_table',
        'relative_position_bias.relative_position_bias_table',
    ),
    ('mlp', 'mlp'),
)
TRANSFORMERS_EMBEDDINGS: Rules = (
    ('cls_token', 'embeddings.cls_token'),
    ('mask_token', 'embeddings.mask_token'),
    ('pos_embed', 'embeddings.position_embeddings'),
    ('patch_embed.proj', 'embeddings.patch_embeddings.projection'),
    ('norm', 'layernorm'),
    ('fc_norm', 'pooler.layernorm'),
)
TRANSFORMERS_FILE_VIT: Rules = (
    *TRANSFORMERS_EMBEDDINGS,
    ('rel_pos_bias', 'encoder.relative_position_bias'),
    *within('blocks.*', 'encoder.layer.*', TRANSFORMERS_FILE_LAYER),
)
TRANSFORMERS_5_VIT: Rules = (
    *TRANSFORMERS_EMBEDDINGS,
    ('rel_pos_bias', 'shared_position_bias'),
    *within('blocks.*', 'layers.*', TRANSFORMERS_5_LAYER),
)
TRANSFORMERS_HEADS: Rules = (
    ('head.fc', 'classifier'),
    # Masked image modelling normalises in its head what the backbone of mean pooling does not.
    ('backbone.norm', 'layernorm'),
    ('head.lm_head', 'lm_head'),
)


@dataclass(frozen=True)
class Naming:
    """Names of one kind of checkpoint.

    Attributes:
        project: whose names they are.
        signature: name of a tensor that only such checkpoints have.
        rules: table of (ours, theirs).
        unread: names, theirs, of tensors that no model here reads.
    """

    project: str
    signature: str
    rules: Rules = ()
    unread: tuple[str, ...] = field(default=())


# What is looked for first stands first.
NAMINGS = (
    Naming(
        'transformers',
        'beit.encoder.layer.0.layernorm_before.weight',
        (*within('backbone', 'beit', TRANSFORMERS_FILE_VIT), *TRANSFORMERS_HEADS),
    ),
    Naming(
        'transformers',
        'encoder.layer.0.layernorm_before.weight',
        within('backbone', '', TRANSFORMERS_FILE_VIT),
    ),
    Naming(
        'transformers',
        'beit.layers.0.layernorm_before.weight',
        (*within('backbone', 'beit', TRANSFORMERS_5_VIT), *TRANSFORMERS_HEADS),
    ),
    Naming(
        'transformers',
        'layers.0.layernorm_before.weight',
        within('backbone', '', TRANSFORMERS_5_VIT),
    ),
    Naming('mmpretrain', 'neck.patch_aggregation.0.ln1.weight', MMPRETRAIN_PRETRAINING),
    Naming(
        'mmpretrain',
        'backbone.layers.0.ln1.weight',
        (*within('backbone', 'backbone', MMPRETRAIN_BACKBONE), ('head.lm_head', 'head.cls_head')),
    ),
    Naming(
        'mmpretrain',
        'layers.0.ln1.weight',
        (*within('backbone', '', MMPRETRAIN_BACKBONE), *OFFICIAL_BACKBONE),
    ),
    Naming('mmpretrain', 'encoder.layers.0.ln1.weight', MMPRETRAIN_TOKENIZER),
    Naming(
        'official',
        'quantize.cluster_size',
        OFFICIAL_TOKENIZER,
        unread=('quantize.embedding.cluster_size', 'quantize.embedding.embed_avg'),
    ),
    Naming('official', 'backbone.fpn1.0.weight', OFFICIAL_SEGMENTATION),
    Naming('official', 'blocks.0.norm1.weight', OFFICIAL),
    Naming('mmbeitv2', 'backbone.blocks.0.norm1.weight'),
    Naming('mmbeitv2', 'encoder.blocks.0.norm1.weight'),
)

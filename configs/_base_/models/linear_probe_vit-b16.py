"""A frozen ViT-B/16 as it was pretrained, and linear classifiers on its features."""

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmbeitv2.BEiTViT',
        arch='base',
        img_size=224,
        patch_size=16,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
        final_norm='norm',
        out_type='cls_and_avg',
        frozen=True,
    ),
    head=dict(type='mmbeitv2.LinearProbeHead', in_channels=768, num_classes=1000),
)

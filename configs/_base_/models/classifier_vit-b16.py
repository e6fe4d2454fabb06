"""ViT-B/16 under a linear classifier, as the paper fine-tunes it (Table 10)."""

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmbeitv2.BEiTViT',
        arch='base',
        img_size=224,
        patch_size=16,
        init_values=0.1,
        drop_path_rate=0.1,
        use_abs_pos_emb=False,
        # Every layer starts from the one bias that pretraining shared.
        use_rel_pos_bias=True,
        # Mean of the patch tokens, then LayerNorm.
        final_norm='fc_norm',
        out_type='avg_featmap',
    ),
    head=dict(
        type='mmbeitv2.LinearClsHead',
        in_channels=768,
        num_classes=1000,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        # The usual 0.02 times 0.001.
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
    # One of the two for each batch, with equal chance.
    train_cfg=dict(augments=[dict(type='Mixup', alpha=0.8), dict(type='CutMix', alpha=1.0)]),
)

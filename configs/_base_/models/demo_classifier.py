"""The demo's ViT under a classifier: 96 pixels, width 128, 6 layers."""

model = dict(
    type='ImageClassifier',
    backbone=dict(
        type='mmbeitv2.BEiTViT',
        arch=dict(embed_dim=128, depth=6, num_heads=2),
        img_size=96,
        init_values=1.0,
        init_std=0.08,
        use_abs_pos_emb=False,
        recompute=False,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/quickstart/seed0/pretrain/last_checkpoint'
        ),
    ),
)

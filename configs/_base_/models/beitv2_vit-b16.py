"""BEiT v2 with ViT-B/16: shared relative position bias, patch aggregation from layer 9 of 12."""

model = dict(
    type='mmbeitv2.BEiTV2',
    backbone=dict(
        type='mmbeitv2.BEiTViT',
        arch='base',
        img_size=224,
        patch_size=16,
        init_values=0.1,
        drop_path_rate=0.0,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
        use_mask_token=True,
        final_norm='norm',
    ),
    neck=dict(
        type='mmbeitv2.PatchAggregationNeck',
        embed_dim=768,
        num_heads=12,
        layer=9,
        depth=2,
        init_values=0.1,
    ),
    head=dict(type='mmbeitv2.MIMHead', embed_dim=768, num_codes=8192, shared=True),
    target_generator=dict(
        type='mmbeitv2.VQKDTokenizer',
        encoder=dict(img_size=224, patch_size=16, embed_dim=768, depth=12, num_heads=12),
        quantizer=dict(num_codes=8192, code_dim=32),
    ),
)

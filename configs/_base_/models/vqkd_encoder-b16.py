"""VQ-KD: ViT-B/16 encoder, 3-layer decoder, 8192 codes of width 32, CLIP ViT-B/16 as teacher."""

model = dict(
    type='mmbeitv2.VQKD',
    encoder=dict(img_size=224, patch_size=16, embed_dim=768, depth=12, num_heads=12),
    decoder=dict(embed_dim=768, depth=3, num_heads=12),
    quantizer=dict(num_codes=8192, code_dim=32, decay=0.99, beta=1.0, kmeans_init=True),
    teacher=dict(type='mmbeitv2.CLIPTeacher', model='ViT-B-16', pretrained='openai'),
)

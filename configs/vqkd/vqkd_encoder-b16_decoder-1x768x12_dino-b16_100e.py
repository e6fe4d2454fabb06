"""VQ-KD without CLIP: DINO ViT-B/16 teacher, decoder of one layer.

    tools/dist_train.sh configs/vqkd/vqkd_encoder-b16_decoder-1x768x12_dino-b16_100e.py 8

Total batch 512 = 8 GPUs × 64.

Recipe: Table 8.
Results: Table 6 (teachers).
Published: 100 % of 8192 codes used (official release).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'vqkd_encoder-b16_decoder-1x768x12_clip-b16_100e.py'

model = dict(
    teacher=dict(_delete_=True, type='mmbeitv2.DINOTeacher', model='vit_base_patch16_224.dino')
)

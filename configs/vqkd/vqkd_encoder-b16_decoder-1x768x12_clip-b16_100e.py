"""VQ-KD with a decoder of one layer; CLIP ViT-B/16 teacher.

    tools/dist_train.sh configs/vqkd/vqkd_encoder-b16_decoder-1x768x12_clip-b16_100e.py 8

Total batch 512 = 8 GPUs × 64.

Recipe: Table 8.
Results: Table 4 (decoder depth).
Published: 100 % of 8192 codes used (official release).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'

model = dict(decoder=dict(depth=1))

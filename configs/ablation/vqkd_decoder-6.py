"""Tokenizer ablation: a decoder of six layers.

    tools/dist_train.sh configs/ablation/vqkd_decoder-6.py 8

Total batch 512 = 8 GPUs × 64.

Recipe: Table 8.
Results: Table 4.
Published: not recorded here; a deeper decoder reconstructs better, uses fewer codes and is worse
downstream (text of section 3.4).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'

model = dict(decoder=dict(depth=6))

"""Tokenizer ablation: a decoder of six layers.

    tools/dist_train.sh configs/ablation/vqkd_decoder-6.py 8

Total batch 512 = 8 GPUs × 64.

Paper: Table 4.
Published: not recorded here. A deeper decoder reconstructs better and uses fewer codes.
"""

_base_ = '../vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'

model = dict(decoder=dict(depth=6))

"""Tokenizer ablation: codes of width 64.

    tools/dist_train.sh configs/ablation/vqkd_dim-64.py 8

Total batch 512 = 8 GPUs × 64.

Paper: Table 4.
Published: not recorded here.
"""

_base_ = '../vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'

model = dict(quantizer=dict(code_dim=64))

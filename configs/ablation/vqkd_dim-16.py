"""Tokenizer ablation: codes of width 16.

    tools/dist_train.sh configs/ablation/vqkd_dim-16.py 8

Total batch 512 = 8 GPUs × 64.

Recipe: Table 8.
Results: Table 4.
Published: not recorded here; a smaller width of codes raises their usage (text of section 3.4).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'

model = dict(quantizer=dict(code_dim=16))

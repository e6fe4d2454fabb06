"""Tokenizer ablation: 4096 codes.

    tools/dist_train.sh configs/ablation/vqkd_codes-4096.py 8

Total batch 512 = 8 GPUs × 64.

Recipe: Table 8.
Results: Table 4.
Published: not recorded here.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'

num_codes = 4096

model = dict(quantizer=dict(num_codes=num_codes))
val_evaluator = dict(num_codes=num_codes)
test_evaluator = val_evaluator

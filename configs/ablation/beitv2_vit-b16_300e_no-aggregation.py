"""Pretraining without patch aggregation.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_no-aggregation.py 8

Total batch 2048 = 8 GPUs × 256.

Recipe: Table 9.
Results: Table 5.
Published: 77.6 top-1 by linear probe (Table 5, as quoted).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

model = dict(neck=None)

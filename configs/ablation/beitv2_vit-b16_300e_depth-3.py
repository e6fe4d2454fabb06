"""Patch aggregation by 3 layers instead of 2.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_depth-3.py 8

Total batch 2048 = 8 GPUs × 256.

Recipe: Table 9.
Results: Table 5.
Published: not recorded here; one or two layers are better than three (text of section 3.4).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

model = dict(neck=dict(depth=3))

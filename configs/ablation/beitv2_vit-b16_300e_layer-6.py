"""Patch aggregation from layer 6 instead of 9.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_layer-6.py 8

Total batch 2048 = 8 GPUs × 256.

Recipe: Table 9.
Results: Table 5.
Published: not recorded here.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

model = dict(neck=dict(layer=6))

"""Patch aggregation with a head and a norm of its own.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_separate-head.py 8

Total batch 2048 = 8 GPUs × 256.

Recipe: Table 9.
Results: Table 5.
Published: not recorded here; the shared head is better than separate ones (text of section 3.4).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

model = dict(neck=dict(shared_norm=False), head=dict(shared=False))

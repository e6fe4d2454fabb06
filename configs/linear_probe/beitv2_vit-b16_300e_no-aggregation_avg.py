"""Linear probe without patch aggregation: the mean of the patch tokens, as [CLS] is untrained.

    tools/dist_train.sh configs/linear_probe/beitv2_vit-b16_300e_no-aggregation_avg.py 8

Total batch 1024 = 8 GPUs × 128.

Recipe: none (the release's v1 script).
Results: Table 5 (no aggregation).
Published: 77.6 top-1 (Table 5, as quoted).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'beitv2_vit-b16_300e_cls.py'

model = dict(
    backbone=dict(
        init_cfg=dict(checkpoint='work_dirs/beitv2_vit-b16_300e_no-aggregation/epoch_300.pth')
    ),
    head=dict(features=('avg',)),
)

"""Linear probe of ViT-B/16 of 300 epochs: [CLS], which patch aggregation has trained.

    tools/dist_train.sh configs/linear_probe/beitv2_vit-b16_300e_cls.py 8

Total batch 1024 = 8 GPUs × 128. The release has no v2 script; the settings are its v1 script's.

Recipe: none (the release's v1 script).
Results: Table 2.
Published: 80.1 top-1 (Table 2).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = [
    '../_base_/models/linear_probe_vit-b16.py',
    '../_base_/datasets/imagenet_classification.py',
    '../_base_/schedules/linear_probe_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/beitv2_vit-b16_300e/epoch_300.pth')
    ),
    head=dict(features=('cls',)),
)
val_evaluator = dict(_delete_=True, type='mmbeitv2.LinearProbeMetric')
test_evaluator = val_evaluator

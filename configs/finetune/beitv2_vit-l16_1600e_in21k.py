"""Intermediate fine-tuning of ViT-L/16 of 1600 epochs on ImageNet-21k.

    NNODES=4 tools/dist_train.sh configs/finetune/beitv2_vit-l16_1600e_in21k.py 8

Total batch 4096 = 32 GPUs × 128; on fewer see --accumulate in docs/options.md.

Recipe: none numbered (ImageNet-21k intermediate fine-tuning of section 3).
Results: Table 7, after the next step.
Published: 88.4 top-1 on ImageNet-1k after the next step, beitv2_vit-l16_in21k_in1k-224.py (Table 7,
official logs).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = [
    '../_base_/models/classifier_vit-l16.py',
    '../_base_/datasets/imagenet21k_finetune.py',
    '../_base_/schedules/finetune_90e_in21k.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/beitv2_vit-l16_1600e/epoch_1600.pth')
    ),
    head=dict(num_classes=_base_.num_classes),
)

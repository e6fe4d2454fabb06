"""Fine-tune ViT-L/16 of 300 epochs on ImageNet-1k at 224 pixels.

    tools/dist_train.sh configs/finetune/beitv2_vit-l16_300e_in1k-224.py 8

Total batch 1024 = 8 GPUs × 128.

Recipe: Table 10.
Results: Table 1.
Published: 86.6 top-1 (Table 1, official README).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = [
    '../_base_/models/classifier_vit-l16.py',
    '../_base_/datasets/imagenet_finetune.py',
    '../_base_/schedules/finetune_50e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(type='Pretrained', checkpoint='work_dirs/beitv2_vit-l16_300e/epoch_300.pth')
    )
)

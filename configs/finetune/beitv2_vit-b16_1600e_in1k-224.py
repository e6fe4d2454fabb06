"""Fine-tune ViT-B/16 of 1600 epochs on ImageNet-1k at 224 pixels.

    tools/dist_train.sh configs/finetune/beitv2_vit-b16_1600e_in1k-224.py 8

Total batch 1024 = 8 GPUs × 128.

Recipe: Table 10.
Results: Table 1.
Published: 85.5 top-1 (Table 1, official README); the official weights measured by others 85.596
(timm's results).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'beitv2_vit-b16_300e_in1k-224.py'

model = dict(
    backbone=dict(
        drop_path_rate=0.2,
        init_cfg=dict(checkpoint='work_dirs/beitv2_vit-b16_1600e/epoch_1600.pth'),
    )
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.6))

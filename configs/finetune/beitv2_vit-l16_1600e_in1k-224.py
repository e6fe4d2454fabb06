"""Fine-tune ViT-L/16 of 1600 epochs on ImageNet-1k at 224 pixels.

    tools/dist_train.sh configs/finetune/beitv2_vit-l16_1600e_in1k-224.py 8

Total batch 1024 = 8 GPUs × 128.

Recipe: Table 10.
Results: Table 1.
Published: 87.3 top-1 (Table 1, official README); the official weights measured by others 87.414
(timm's results).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'beitv2_vit-l16_300e_in1k-224.py'

lr = 2e-4

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/beitv2_vit-l16_1600e/epoch_1600.pth'))
)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = _base_.param_scheduler
param_scheduler[1]['eta_min_ratio'] = 1e-6 / lr

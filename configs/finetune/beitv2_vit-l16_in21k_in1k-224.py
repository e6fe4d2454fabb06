"""Fine-tune ViT-L/16 on ImageNet-1k at 224 pixels, after ImageNet-21k.

    tools/dist_train.sh configs/finetune/beitv2_vit-l16_in21k_in1k-224.py 8

Total batch 1024 = 8 GPUs × 128.

Recipe: Table 10.
Results: Table 7.
Published: 88.4 top-1 (Table 7), 88.370 and 98.578 top-5 (official logs); the official weights
measured by others 88.406 (timm's results).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'beitv2_vit-l16_300e_in1k-224.py'

lr = 7e-5

model = dict(
    backbone=dict(
        drop_path_rate=0.25,
        init_cfg=dict(checkpoint='work_dirs/beitv2_vit-l16_1600e_in21k/epoch_90.pth'),
    ),
    # Neither mixup nor cutmix.
    train_cfg=None,
)
optim_wrapper = dict(optimizer=dict(lr=lr))
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=20, eta_min_ratio=1e-6 / lr)
train_cfg = dict(max_epochs=20)

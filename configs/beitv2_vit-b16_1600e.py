"""BEiT v2, ViT-B/16, 1600 epochs on ImageNet-1k.

    tools/dist_train.sh configs/beitv2_vit-b16_1600e.py 8

Total batch 2048 = 8 GPUs × 256.

Recipe: Table 9.
Results: Table 1.
Published: 85.5 top-1 after fine-tuning at 224 pixels, 53.1 mIoU on ADE20K (Table 1, official
README).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'beitv2_vit-b16_300e.py'

max_epochs = 1600
drop_path_rate = 0.1

model = dict(
    backbone=dict(drop_path_rate=drop_path_rate),
    # Layers 9 and 10 (0-based) on the line from 0 in the first to the full rate in the last of 12.
    neck=dict(drop_path=(drop_path_rate * 9 / 11, drop_path_rate * 10 / 11)),
)
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)))
param_scheduler = _base_.param_scheduler
param_scheduler[1]['end'] = max_epochs
train_cfg = dict(max_epochs=max_epochs)

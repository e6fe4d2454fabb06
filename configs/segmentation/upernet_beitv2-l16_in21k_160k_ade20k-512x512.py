"""ADE20K with UperNet, ViT-L/16 pretrained for 1600 epochs, then on 21k.

    tools/dist_train.sh configs/segmentation/upernet_beitv2-l16_in21k_160k_ade20k-512x512.py 8

Total batch 16 = 8 GPUs × 2.

Recipe: Table 11.
Results: none from this start.
Published: 57.5 mIoU with the official weights (official release).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'upernet_beitv2-l16_1600e_160k_ade20k-512x512.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/beitv2_vit-l16_1600e_in21k/epoch_90.pth'))
)
optim_wrapper = dict(optimizer=dict(lr=3e-5))

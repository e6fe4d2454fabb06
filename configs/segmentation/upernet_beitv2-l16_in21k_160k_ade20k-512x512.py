"""ADE20K with UperNet, ViT-L/16 pretrained for 1600 epochs, then on 21k.

    tools/dist_train.sh configs/segmentation/upernet_beitv2-l16_in21k_160k_ade20k-512x512.py 8

Total batch 16 = 8 GPUs × 2.

Paper: Table 11.
Published: 57.5 mIoU, with the official weights.
"""

_base_ = [
    '../_base_/models/upernet_beitv2-l16.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/segmentation_160k.py',
    '../_base_/segmentation_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/beitv2_vit-l16_1600e_in21k/epoch_90.pth'
        )
    )
)
optim_wrapper = dict(optimizer=dict(lr=3e-5), paramwise_cfg=dict(layer_decay_rate=0.9))

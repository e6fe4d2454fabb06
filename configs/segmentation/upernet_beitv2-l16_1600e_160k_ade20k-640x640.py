"""ADE20K with UperNet at 640×640 pixels, ViT-L/16 pretrained for 1600 epochs.

    tools/dist_train.sh configs/segmentation/upernet_beitv2-l16_1600e_160k_ade20k-640x640.py 8

Total batch 16 = 8 GPUs × 2.

Recipe: none.
Results: none.
Published: nothing to compare with.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = [
    '../_base_/models/upernet_beitv2-l16.py',
    '../_base_/datasets/ade20k_640x640.py',
    '../_base_/schedules/segmentation_160k.py',
    '../_base_/segmentation_runtime.py',
]

crop_size = (640, 640)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        img_size=crop_size,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/beitv2_vit-l16_1600e/epoch_1600.pth'
        ),
    ),
    decode_head=dict(num_classes=_base_.num_classes),
    auxiliary_head=dict(num_classes=_base_.num_classes),
    test_cfg=dict(crop_size=crop_size, stride=tuple(side * 2 // 3 for side in crop_size)),
)
optim_wrapper = dict(optimizer=dict(lr=4e-5), paramwise_cfg=dict(layer_decay_rate=0.9))

"""Cityscapes with UperNet, ViT-B/16 pretrained for 1600 epochs: an example of other data.

    tools/dist_train.sh configs/segmentation/upernet_beitv2-b16_1600e_80k_cityscapes-512x1024.py 8

Total batch 16 = 8 GPUs × 2. Crops are not square: the relative bias is resized to 32×64 patches.

Recipe: none.
Results: none.
Published: nothing to compare with.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = [
    '../_base_/models/upernet_beitv2.py',
    '../_base_/datasets/ade20k_512x512.py',
    '../_base_/schedules/segmentation_160k.py',
    '../_base_/segmentation_runtime.py',
]

image_scale = (2048, 1024)
crop_size = (512, 1024)
num_classes = 19
max_iters = 80000

model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(
        img_size=crop_size,
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/beitv2_vit-b16_1600e/epoch_1600.pth'
        ),
    ),
    decode_head=dict(num_classes=num_classes),
    auxiliary_head=dict(num_classes=num_classes),
    test_cfg=dict(crop_size=crop_size, stride=tuple(side * 2 // 3 for side in crop_size)),
)

train_pipeline = _base_.train_pipeline
train_pipeline[2].num_classes = num_classes
train_pipeline[3].scale = image_scale
train_pipeline[4].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[3].num_classes = num_classes
test_pipeline[1].scale = image_scale
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[3][0].num_classes = num_classes
tta_pipeline[1].transforms[0] = [
    dict(
        type='Resize',
        scale=(int(image_scale[0] * ratio), int(image_scale[1] * ratio)),
        keep_ratio=True,
    )
    for ratio in (0.75, 1.0, 1.25)
]

dataset_type = 'CityscapesDataset'
data_root = 'data/cityscapes'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=[dict(type='mmbeitv2.SampleSeeded', transforms=train_pipeline)],
    )
)
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    )
)
test_dataloader = val_dataloader

param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type='PolyLR', power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=max_iters),
]
train_cfg = dict(max_iters=max_iters, val_interval=8000)

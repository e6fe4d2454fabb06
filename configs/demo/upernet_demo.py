"""UperNet on the demo's backbone: background and 8 classes, ADE20K's folder layout.

    python tools/train.py configs/demo/upernet_demo.py

Total batch 16. With ``--cfg-options model.backbone.init_cfg=None`` it trains the same model from
random initialisation, with ``--cfg-options model.backbone.frozen=True`` on fixed features.

Time: 2.2 minutes, measured on two cores of an AMD EPYC (2026-11-27, bfloat16, by the quick start
beside another run).
Memory: unknown.
Final loss: 1.03 (decode head 0.71, auxiliary head 0.31), measured there: the last line of its log.
"""

_base_ = ['../_base_/models/upernet_beitv2.py', '../_base_/segmentation_runtime.py']

image_size = 96
num_classes = 9
width = 128
channels = 64
metainfo = dict(
    classes=(
        'background',
        'bird',
        'fish',
        'flower',
        'food',
        'insect',
        'mammal',
        'tree',
        'vehicle',
    ),
    palette=[
        [200, 200, 200],
        [31, 119, 180],
        [23, 190, 207],
        [227, 119, 194],
        [255, 127, 14],
        [188, 189, 34],
        [140, 86, 75],
        [44, 160, 44],
        [214, 39, 40],
    ],
)

model = dict(
    data_preprocessor=dict(size=(image_size, image_size)),
    backbone=dict(
        arch=dict(_delete_=True, embed_dim=width, depth=6, num_heads=2),
        img_size=image_size,
        init_values=1.0,
        init_std=0.08,
        drop_path_rate=0.0,
        recompute=False,
        out_indices=(1, 2, 3, 5),
        init_cfg=dict(
            type='Pretrained', checkpoint='work_dirs/quickstart/seed0/pretrain/last_checkpoint'
        ),
    ),
    neck=dict(embed_dim=width),
    decode_head=dict(in_channels=[width] * 4, channels=channels, num_classes=num_classes),
    auxiliary_head=dict(in_channels=width, channels=channels, num_classes=num_classes),
    test_cfg=dict(_delete_=True, mode='whole'),
)

train_pipeline = [
    dict(type='mmbeitv2.LoadSegmentationImage'),
    dict(type='mmbeitv2.LoadSegmentationMask'),
    dict(type='mmbeitv2.CheckSegmentation', num_classes=num_classes),
    dict(type='RandomResize', scale=(image_size, image_size), ratio_range=(1.0, 1.4)),
    dict(type='RandomCrop', crop_size=(image_size, image_size)),
    dict(type='RandomFlip', prob=0.5),
    # Otherwise the 16 training backgrounds are learned by heart, and others taken for objects.
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    # mmbeitv2.LoadSegmentationImage, by the name that mmsegmentation's inferencers look for.
    dict(type='LoadImageFromFile', _scope_='mmbeitv2'),
    dict(type='Resize', scale=(image_size, image_size)),
    dict(type='mmbeitv2.LoadSegmentationMask'),
    dict(type='mmbeitv2.CheckSegmentation', num_classes=num_classes),
    dict(type='PackSegInputs'),
]
tta_model = dict(type='SegTTAModel')
tta_pipeline = [
    dict(type='mmbeitv2.LoadSegmentationImage'),
    dict(
        type='TestTimeAug',
        transforms=[
            [dict(type='Resize', scale=(side, side)) for side in (image_size, image_size * 4 // 3)],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='mmbeitv2.LoadSegmentationMask')],
            [dict(type='PackSegInputs')],
        ],
    ),
]
data_root = 'data/demo/ade/'
dataset_type = 'BaseSegDataset'
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='mmbeitv2.EndlessSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        reduce_zero_label=True,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=[dict(type='mmbeitv2.SampleSeeded', transforms=train_pipeline)],
    ),
)
val_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        reduce_zero_label=True,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=16,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        metainfo=metainfo,
        reduce_zero_label=True,
        data_prefix=dict(
            img_path='images/validation_unseen', seg_map_path='annotations/validation_unseen'
        ),
        pipeline=test_pipeline,
    ),
)
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

max_iters = 400
optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-6, by_epoch=False, end=40),
    dict(type='PolyLR', power=1.0, eta_min=0.0, begin=40, end=max_iters, by_epoch=False),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=max_iters, val_interval=200)
val_cfg = dict(type='mmbeitv2.ValLoop')
test_cfg = dict(type='mmbeitv2.TestLoop')
default_hooks = dict(
    logger=dict(interval=20), checkpoint=dict(interval=200), visualization=dict(draw=False)
)

"""ADE20K, 150 classes: 512×512 crops of images at 0.5 to 2 times (2048, 512)."""

image_scale = (2048, 512)
crop_size = (512, 512)
num_classes = 150

train_pipeline = [
    dict(type='mmbeitv2.LoadSegmentationImage'),
    dict(type='mmbeitv2.LoadSegmentationMask'),
    dict(type='mmbeitv2.CheckSegmentation', num_classes=num_classes),
    dict(type='RandomResize', scale=image_scale, ratio_range=(0.5, 2.0), keep_ratio=True),
    # No class may fill more than 75 % of a crop.
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PhotoMetricDistortion'),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    # mmbeitv2.LoadSegmentationImage, by the name that mmsegmentation's inferencers look for.
    dict(type='LoadImageFromFile', _scope_='mmbeitv2'),
    dict(type='Resize', scale=image_scale, keep_ratio=True),
    # After the resize: predictions are compared at the size of the file.
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
            [
                dict(
                    type='Resize',
                    scale=(int(image_scale[0] * ratio), int(image_scale[1] * ratio)),
                    keep_ratio=True,
                )
                for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
            ],
            [dict(type='RandomFlip', prob=0.0), dict(type='RandomFlip', prob=1.0)],
            [dict(type='mmbeitv2.LoadSegmentationMask')],
            [dict(type='mmbeitv2.CheckSegmentation', num_classes=num_classes)],
            [dict(type='PackSegInputs')],
        ],
    ),
]

dataset_type = 'ADE20KDataset'
data_root = 'data/ade/ADEChallengeData2016'
train_dataloader = dict(
    batch_size=2,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='mmbeitv2.EndlessSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/training', seg_map_path='annotations/training'),
        pipeline=[dict(type='mmbeitv2.SampleSeeded', transforms=train_pipeline)],
    ),
)
val_dataloader = dict(
    batch_size=1,  # images differ in size
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_prefix=dict(img_path='images/validation', seg_map_path='annotations/validation'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator

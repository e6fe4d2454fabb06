"""The demo's one-object photos with labels: 8 classes, 96 pixels.

``val`` shows known objects on unseen backgrounds, ``test`` unseen objects on unseen backgrounds.
"""

image_size = 96
data_root = 'data/demo/imagenet/'

data_preprocessor = dict(
    num_classes=8,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=False,
)

train_pipeline = [
    dict(
        type='mmbeitv2.SampleSeeded',
        transforms=[
            dict(
                type='mmbeitv2.LoadRandomCrop',
                size=image_size,
                scale=(0.6, 1.0),
                interpolation='bicubic',
                flip_prob=0.5,
            ),
        ],
    ),
    dict(type='PackInputs'),
]
val_pipeline = [
    dict(type='mmbeitv2.LoadCenterCrop', size=image_size, interpolation='bicubic'),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='mmbeitv2.EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmbeitv2.Photos', data_root=data_root, data_prefix='train', pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmbeitv2.Photos',
        data_root=data_root,
        data_prefix='val',
        classes_from='train',
        pipeline=val_pipeline,
    ),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=1,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmbeitv2.Photos',
        data_root=data_root,
        data_prefix='val_unseen',
        classes_from='train',
        pipeline=val_pipeline,
    ),
)
val_cfg = dict(type='mmbeitv2.ValLoop')
test_cfg = dict(type='mmbeitv2.TestLoop')

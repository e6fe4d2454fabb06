"""ImageNet-1k with labels: 224 pixels, crop and flip, test on the centre of 256 pixels.

Read from class folders, or from the lists ``meta/train.txt`` and ``meta/val.txt`` where they exist.
"""

data_root = 'data/imagenet/'

data_preprocessor = dict(
    num_classes=1000,
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=False,  # they are read as RGB
)

train_pipeline = [
    dict(
        type='mmbeitv2.SampleSeeded',
        transforms=[
            dict(
                type='mmbeitv2.LoadRandomCrop',
                size=224,
                scale=(0.08, 1.0),
                interpolation='bicubic',
                flip_prob=0.5,
            ),
        ],
    ),
    dict(type='PackInputs'),
]
val_pipeline = [
    dict(type='mmbeitv2.LoadCenterCrop', size=224, short_side=256, interpolation='bicubic'),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='mmbeitv2.EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='ImageNet', data_root=data_root, split='train', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=10,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='ImageNet', data_root=data_root, split='val', pipeline=val_pipeline),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='Accuracy', topk=(1, 5))
test_evaluator = val_evaluator

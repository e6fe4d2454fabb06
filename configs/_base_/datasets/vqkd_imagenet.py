"""Tokenizer training on ImageNet-1k without labels: 224 pixels, crop and flip (Table 8)."""

_base_ = 'imagenet_unlabelled.py'

image_size = 224

data_preprocessor = dict(type='mmbeitv2.VQKDDataPreprocessor', image_size=image_size)

train_pipeline = [
    dict(
        type='mmbeitv2.SampleSeeded',
        transforms=[
            dict(
                type='mmbeitv2.LoadRandomCrop',
                size=image_size,
                scale=(0.08, 1.0),
                interpolation='bicubic',
            ),
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
    dict(type='PackInputs'),
]
val_pipeline = [
    dict(type='mmbeitv2.LoadCenterCrop', size=image_size, interpolation='bicubic'),
    dict(type='PackInputs'),
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

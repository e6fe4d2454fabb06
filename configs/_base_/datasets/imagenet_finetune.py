"""ImageNet-1k for fine-tuning: rand-m9-mstd0.5-inc1 and random erasing of pixels, 224 pixels."""

_base_ = 'imagenet_classification.py'

train_pipeline = _base_.train_pipeline
train_pipeline[0]['transforms'] += [
    dict(
        type='mmbeitv2.RandAugment',
        num_policies=2,
        magnitude_level=9,
        magnitude_std=0.5,
        pad_val=[round(value) for value in _base_.data_preprocessor.mean],
        interpolation='bicubic',
    ),
    dict(
        type='mmbeitv2.RandomErasing',
        erase_prob=0.25,
        min_area_ratio=0.02,
        max_area_ratio=1 / 3,
        fill_color=_base_.data_preprocessor.mean,
        fill_std=_base_.data_preprocessor.std,
    ),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

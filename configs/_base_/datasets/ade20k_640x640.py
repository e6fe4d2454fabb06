"""ADE20K, 150 classes: 640×640 crops of images at 0.5 to 2 times (2560, 640)."""

_base_ = './ade20k_512x512.py'

image_scale = (2560, 640)
crop_size = (640, 640)

train_pipeline = _base_.train_pipeline
train_pipeline[3].scale = image_scale
train_pipeline[4].crop_size = crop_size
test_pipeline = _base_.test_pipeline
test_pipeline[1].scale = image_scale
tta_pipeline = _base_.tta_pipeline
tta_pipeline[1].transforms[0] = [
    dict(
        type='Resize',
        scale=(int(image_scale[0] * ratio), int(image_scale[1] * ratio)),
        keep_ratio=True,
    )
    for ratio in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
]

train_dataloader = dict(
    dataset=dict(pipeline=[dict(type='mmbeitv2.SampleSeeded', transforms=train_pipeline)])
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

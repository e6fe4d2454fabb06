"""The demo's tokenizer for Fashion-MNIST: 28 pixels, 7 × 7 patches; the teacher sees larger photos.

    bash tools/example_fashion_mnist.sh

Total batch 64 = 2 processes × 32.
"""

_base_ = '../demo/vqkd_demo.py'

image_size = 28  # of the photos: none is resized
patch_size = 4
num_codes = 128
data_root = 'work_dirs/example_fashion_mnist/photos/'

model = dict(
    encoder=dict(img_size=image_size, patch_size=patch_size),
    quantizer=dict(num_codes=num_codes),
    # At its stride of 16 the teacher then has one feature for each patch.
    teacher=dict(image_size=112),
)
data_preprocessor = dict(image_size=image_size)

train_pipeline = _base_.train_pipeline
train_pipeline[0]['transforms'][0].update(size=image_size)
val_pipeline = _base_.val_pipeline
val_pipeline[0].update(size=image_size)
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix='test', pipeline=val_pipeline),
)
val_evaluator = dict(num_codes=num_codes)
test_evaluator = val_evaluator

max_epochs = 3
train_cfg = dict(max_epochs=max_epochs, val_interval=1)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        begin=1,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]

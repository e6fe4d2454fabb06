"""The demo's BEiT v2 for Fashion-MNIST: 28 pixels, 7 × 7 patches, codes of ``vqkd_fashion-mnist``.

    bash tools/example_fashion_mnist.sh

Total batch 32 in one process.
"""

_base_ = '../demo/beitv2_demo.py'

tokenizer_checkpoint = 'work_dirs/example_fashion_mnist/vqkd/last_checkpoint'

image_size = 28  # of the photos: none is resized
patch_size = 4
grid_size = image_size // patch_size
num_codes = 128
data_root = 'work_dirs/example_fashion_mnist/photos/'

model = dict(
    backbone=dict(img_size=image_size, patch_size=patch_size),
    head=dict(num_codes=num_codes),
    target_generator=dict(
        encoder=dict(img_size=image_size, patch_size=patch_size),
        quantizer=dict(num_codes=num_codes),
        init_cfg=dict(checkpoint=tokenizer_checkpoint),
    ),
)
data_preprocessor = dict(image_size=image_size)

# 20 of 49 patches, the paper's 40 %.
block_mask = dict(grid_size=grid_size, num_masked=round(0.4 * grid_size**2))
train_pipeline = _base_.train_pipeline
train_pipeline[0]['transforms'][0].update(size=image_size)
train_pipeline[0]['transforms'][3].update(block_mask)
val_pipeline = _base_.val_pipeline
val_pipeline[0].update(size=image_size)
val_pipeline[1]['transforms'][0].update(block_mask)
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = dict(
    dataset=dict(data_root=data_root, data_prefix='test', pipeline=val_pipeline),
)

max_epochs = 10
train_cfg = dict(max_epochs=max_epochs, val_interval=2)
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

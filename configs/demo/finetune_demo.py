"""Fine-tune the demo's backbone for 8 classes, with the paper's head.

    python tools/train.py configs/demo/finetune_demo.py

As in the paper colours are jittered and layers dropped, so that colours alone do not tell objects
apart. Total batch 64. With ``--cfg-options model.backbone.init_cfg=None`` it trains the same model
from random initialisation.

Time: 1.9 minutes, measured on two cores of an AMD EPYC (2026-11-27, bfloat16, by the quick start
beside another run).
Memory: unknown.
Final loss: 1.27 (1.62 from random initialisation; ln 8 is 2.08), measured there: the last line of
its log.
"""

_base_ = [
    '../_base_/models/demo_classifier.py',
    '../_base_/datasets/demo_classification.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        img_size=_base_.image_size,
        drop_path_rate=0.1,
        use_rel_pos_bias=True,
        final_norm='fc_norm',
        out_type='avg_featmap',
    ),
    head=dict(
        type='mmbeitv2.LinearClsHead',
        in_channels=128,
        num_classes=8,
        loss=dict(type='LabelSmoothLoss', label_smooth_val=0.1, mode='original'),
        init_cfg=dict(type='TruncNormal', layer='Linear', std=2e-5),
    ),
)
train_pipeline = [
    dict(
        type='mmbeitv2.SampleSeeded',
        transforms=[
            dict(
                type='mmbeitv2.LoadRandomCrop',
                size=_base_.image_size,
                scale=(0.4, 1.0),
                interpolation='bicubic',
                flip_prob=0.5,
            ),
            dict(type='mmbeitv2.JitterCrop', brightness=0.4, contrast=0.4, saturation=0.4),
        ],
    ),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_evaluator = dict(type='Accuracy', topk=(1,))
test_evaluator = val_evaluator

max_epochs = 4
optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
    # No layer decay: it would handicap the run from random initialisation.
)
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-9, end=1, convert_to_iter_based=True),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=0.01,
        begin=1,
        end=max_epochs,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=1)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1))

"""Linear probe of the demo's frozen backbone: [CLS] and mean of patches in one run.

    python tools/train.py configs/demo/linear_probe_demo.py

With ``--cfg-options model.backbone.init_cfg=None`` it probes the same backbone at its random
initialisation.

Time: 1.2 minutes, measured on two cores of an AMD EPYC (2026-11-27, bfloat16, by the quick start
beside another run).
Memory: unknown.
Final loss: 1.41 of [CLS], 1.39 of the mean (ln 8 is 2.08), measured there: the last line of its
log.
"""

_base_ = [
    '../_base_/models/demo_classifier.py',
    '../_base_/datasets/demo_classification.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        img_size=_base_.image_size,
        use_shared_rel_pos_bias=True,
        final_norm='norm',
        out_type='cls_and_avg',
        frozen=True,
    ),
    head=dict(type='mmbeitv2.LinearProbeHead', in_channels=128, num_classes=8),
)
val_evaluator = dict(type='mmbeitv2.LinearProbeMetric')
test_evaluator = val_evaluator

max_epochs = 5
optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-2, weight_decay=1e-4, fused=True),
    constructor='mmbeitv2.OptimWrapperConstructor',
)
param_scheduler = dict(
    type='CosineAnnealingLR', eta_min=0, end=max_epochs, convert_to_iter_based=True
)
train_cfg = dict(by_epoch=True, max_epochs=max_epochs, val_interval=max_epochs)
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(interval=1))

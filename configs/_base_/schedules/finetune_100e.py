"""AdamW for fine-tuning (Table 10): batch 1024, 100 epochs, 20 of them warm-up, then cosine."""

lr = 5e-4

optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.65),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-9,
        by_epoch=True,
        begin=0,
        end=20,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        # The last rate is 1e-6, times the layer's own factor.
        eta_min_ratio=1e-6 / lr,
        by_epoch=True,
        begin=20,
        end=100,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=1)
val_cfg = dict(type='mmbeitv2.ValLoop')
test_cfg = dict(type='mmbeitv2.TestLoop')
auto_scale_lr = dict(base_batch_size=1024)

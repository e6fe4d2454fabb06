"""AdamW for linear probes: batch 1024, 100 epochs, cosine to 0 (the official v1 script's)."""

optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=4e-3, betas=(0.9, 0.999), weight_decay=1e-4, fused=True),
    constructor='mmbeitv2.OptimWrapperConstructor',
)
param_scheduler = dict(
    type='CosineAnnealingLR',
    eta_min=0.0,
    by_epoch=True,
    begin=0,
    end=100,
    convert_to_iter_based=True,
)
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=10)
val_cfg = dict(type='mmbeitv2.ValLoop')
test_cfg = dict(type='mmbeitv2.TestLoop')
auto_scale_lr = dict(base_batch_size=1024)

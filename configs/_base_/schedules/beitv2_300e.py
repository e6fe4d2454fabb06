"""AdamW for pretraining (Table 9): batch 2048, 300 epochs, 10 of them warm-up, then cosine."""

optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-3, betas=(0.9, 0.98), weight_decay=0.05, fused=True),
    # The official run decays the mask token and the relative position bias, as this rule does.
    constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
    clip_grad=dict(max_norm=3.0),
)
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=1e-9,
        by_epoch=True,
        begin=0,
        end=10,
        convert_to_iter_based=True,
    ),
    dict(
        type='CosineAnnealingLR',
        eta_min=1e-5,
        by_epoch=True,
        begin=10,
        end=300,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=300, val_interval=10)
val_cfg = dict(type='mmbeitv2.ValLoop')
test_cfg = dict(type='mmbeitv2.TestLoop')
auto_scale_lr = dict(base_batch_size=2048)

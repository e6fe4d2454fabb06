"""AdamW for the tokenizer (Table 8): batch 512, 100 epochs, 10 of them warm-up, then cosine."""

optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=2e-4, betas=(0.9, 0.99), weight_decay=1e-4, fused=True),
    constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
)
# Iteration-wise from (almost) 0, over epochs of the real length.
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
        end=100,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(by_epoch=True, max_epochs=100, val_interval=5)
val_cfg = dict(type='mmbeitv2.ValLoop')
test_cfg = dict(type='mmbeitv2.TestLoop')
auto_scale_lr = dict(base_batch_size=512)

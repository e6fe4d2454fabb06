"""ImageNet-1k's folders, or any other folders of photos, without labels."""

data_root = 'data/imagenet/'

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='mmbeitv2.EpochSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='mmbeitv2.Photos', data_root=data_root, data_prefix='train', with_label=False
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='mmbeitv2.EpochSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='mmbeitv2.Photos', data_root=data_root, data_prefix='val', with_label=False),
)
test_dataloader = val_dataloader

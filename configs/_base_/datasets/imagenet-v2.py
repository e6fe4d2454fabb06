"""ImageNetV2 (matched frequency) as test set: class folders 0 to 999, put into ``data_root``.

They lie in the folder imagenetv2-matched-frequency-format-val of its archive.
"""

_base_ = 'imagenet_finetune.py'

data_root = 'data/imagenet-v2/'  # of the test

train_dataloader = dict(dataset=dict(data_root=_base_.data_root))
val_dataloader = dict(dataset=dict(data_root=_base_.data_root))
test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmbeitv2.Photos',
        data_root=data_root,
        pipeline=_base_.val_pipeline,
    )
)
test_evaluator = dict(
    _delete_=True, type='mmbeitv2.ImageNetSubsetAccuracy', num_classes=1000, topk=(1, 5)
)

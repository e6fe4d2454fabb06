"""ImageNet-A as test set: the 1000 logits are restricted to its 200 classes."""

_base_ = 'imagenet_finetune.py'

data_root = 'data/imagenet-a/'  # of the test

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
    _delete_=True, type='mmbeitv2.ImageNetSubsetAccuracy', num_classes=200, topk=(1, 5)
)

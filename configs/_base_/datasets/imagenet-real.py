"""ImageNet's validation photos as test set, with the reassessed labels, ReaL, that timm brings.

``test_evaluator.labels`` names another copy of real.json.
"""

_base_ = 'imagenet_finetune.py'

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='mmbeitv2.Photos',
        data_root=_base_.data_root,
        data_prefix='val',
        with_label=False,
        pipeline=_base_.val_pipeline,
    )
)
test_evaluator = dict(_delete_=True, type='mmbeitv2.ImageNetReaLAccuracy', topk=(1, 5))

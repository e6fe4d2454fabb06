"""The demo's pretraining with masks of single random patches instead of blocks.

python tools/train.py configs/demo/beitv2_demo_random-mask.py
"""

_base_ = 'beitv2_demo.py'

random_mask = dict(
    type='mmbeitv2.RandomMask',
    grid_size=_base_.grid_size,
    num_masked=_base_.block_mask.num_masked,
)
train_pipeline = _base_.train_pipeline
train_pipeline[0]['transforms'][-1] = random_mask
val_pipeline = _base_.val_pipeline
val_pipeline[1]['transforms'][0] = random_mask
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = dict(dataset=dict(pipeline=val_pipeline))

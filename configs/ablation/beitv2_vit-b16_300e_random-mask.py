"""Pretraining with masks of single random patches instead of blocks.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_random-mask.py 8

Total batch 2048 = 8 GPUs × 256.

Recipe: Table 9.
Results: none (the paper masks blocks).
Published: not recorded here.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

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
test_dataloader = val_dataloader

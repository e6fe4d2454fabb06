"""Pretraining on a folder of one's own photos, without labels, at any image size.

    python tools/train.py configs/own_data/beitv2_own-data.py --accumulate

With the tokenizer of vqkd_own-data.py. The learning rate belongs to a total batch of 2048.

Recipe: none.
Results: none.
Published: nothing to compare with.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

# Elsewhere, 'mmbeitv2::' replaces '../'.
_base_ = '../beitv2_vit-b16_300e.py'

tokenizer_checkpoint = 'work_dirs/vqkd_own-data/epoch_100.pth'
data_root = 'data/own/'  # with the folders train and val, photos at any depth
image_size = 224  # a multiple of 16
value_range = None  # (black, white) of float, 32-bit or 12-bit images
num_codes = 1024  # the tokenizer's
grid_size = image_size // 16

model = dict(
    backbone=dict(img_size=image_size),
    head=dict(num_codes=num_codes),
    target_generator=dict(
        encoder=dict(img_size=image_size),
        quantizer=dict(num_codes=num_codes),
        init_cfg=dict(checkpoint=tokenizer_checkpoint),
    ),
)
data_preprocessor = dict(image_size=image_size)
# 40 % of the patches in blocks of 8 % and more, as in the paper.
block_mask = dict(
    grid_size=grid_size,
    num_masked=round(0.383 * grid_size**2),
    min_block=round(0.08 * grid_size**2),
)
train_pipeline = _base_.train_pipeline
train_pipeline[0]['transforms'][0].update(size=image_size, value_range=value_range)
train_pipeline[0]['transforms'][3].update(block_mask)
val_pipeline = _base_.val_pipeline
val_pipeline[0].update(size=image_size, value_range=value_range)
val_pipeline[1]['transforms'][0].update(block_mask)
train_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(batch_size=128, dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = val_dataloader
# In the log and in learning.html of the run's folder: is it learning? docs/own_data.md
default_hooks = dict(
    learning=dict(type='mmbeitv2.LearningHook'),
    learning_page=dict(type='mmbeitv2.LearningPageHook'),
)

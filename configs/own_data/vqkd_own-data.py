"""A tokenizer for a folder of one's own photos, without labels: fewer codes, other image sizes.

    python tools/train.py configs/own_data/vqkd_own-data.py --auto-scale-lr

For a few thousand photos or more; docs/own_data.md says what to change. The learning rate belongs
to a total batch of 512.

Recipe: none.
Results: none.
Published: nothing to compare with.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

# Elsewhere, 'mmbeitv2::' replaces '../'.
_base_ = '../vqkd/vqkd_encoder-b16_decoder-1x768x12_clip-b16_100e.py'

data_root = 'data/own/'  # with the folders train and val, photos at any depth
image_size = 224  # a multiple of 16
value_range = None  # (black, white) of float, 32-bit or 12-bit images
num_codes = 1024  # some hundred patches for each in an epoch, and few enough that all are used

model = dict(
    encoder=dict(img_size=image_size),
    # A code that less than one patch in ten steps chooses starts anew.
    quantizer=dict(num_codes=num_codes, revive_below=0.1),
)
data_preprocessor = dict(image_size=image_size)
train_pipeline = _base_.train_pipeline
train_pipeline[0]['transforms'][0].update(size=image_size, value_range=value_range)
val_pipeline = _base_.val_pipeline
val_pipeline[0].update(size=image_size, value_range=value_range)
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root, pipeline=val_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(num_codes=num_codes)
test_evaluator = val_evaluator
# In the log and in learning.html of the run's folder: is it learning? docs/own_data.md
default_hooks = dict(
    learning=dict(type='mmbeitv2.LearningHook'),
    learning_page=dict(type='mmbeitv2.LearningPageHook'),
)

"""Fine-tuning on one's own classes: one folder of photos for each.

    python tools/train.py configs/own_data/finetune_own-data.py --auto-scale-lr

The learning rate belongs to a total batch of 1024.

Recipe: none.
Results: none.
Published: nothing to compare with.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

# Elsewhere, 'mmbeitv2::' replaces '../'.
_base_ = '../finetune/beitv2_vit-b16_300e_in1k-224.py'

pretrained_checkpoint = 'work_dirs/beitv2_own-data/epoch_300.pth'
data_root = 'data/own_classes/'  # train/CLASS/*.jpg and val/CLASS/*.jpg
num_classes = 10
image_size = 224  # a multiple of 16, best that of pretraining
batch_size = 128  # of each process; few photos need fewer, so that an epoch has ten steps or more
max_epochs = 100  # the first fifth warms up
value_range = None  # (black, white) of float, 32-bit or 12-bit images

model = dict(
    backbone=dict(img_size=image_size, init_cfg=dict(checkpoint=pretrained_checkpoint)),
    head=dict(num_classes=num_classes),
)
data_preprocessor = dict(num_classes=num_classes)
train_pipeline = _base_.train_pipeline
train_pipeline[0]['transforms'][0].update(size=image_size, value_range=value_range)
val_pipeline = _base_.val_pipeline
val_pipeline[0].update(size=image_size, short_side=image_size * 8 // 7, value_range=value_range)
train_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        _delete_=True,
        type='mmbeitv2.Photos',
        data_root=data_root,
        data_prefix='train',
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=batch_size,
    dataset=dict(
        _delete_=True,
        type='mmbeitv2.Photos',
        data_root=data_root,
        data_prefix='val',
        classes_from='train',  # they number the labels, whichever folders val has
        pipeline=val_pipeline,
    ),
)
test_dataloader = val_dataloader
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=max_epochs // 5)
param_scheduler[1].update(begin=max_epochs // 5, end=max_epochs)
train_cfg = dict(max_epochs=max_epochs)
# Top-5 needs more than five classes.
val_evaluator = dict(topk=(1,))
test_evaluator = val_evaluator

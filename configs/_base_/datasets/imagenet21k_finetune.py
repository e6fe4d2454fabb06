"""ImageNet-21k with its 21,841 classes, augmented as in fine-tuning; it has no validation set.

Write ``meta/train.txt`` once (lines ``CLASS_FOLDER/FILE LABEL``, see docs/own_data.md): without it
every start walks 14 million files.
"""

_base_ = 'imagenet_finetune.py'

num_classes = 21841
data_root = 'data/imagenet21k/'

data_preprocessor = dict(num_classes=num_classes)
train_dataloader = dict(dataset=dict(type='ImageNet21k', data_root=data_root))
val_dataloader = None
val_evaluator = None
test_dataloader = None
test_evaluator = None

"""Intermediate fine-tuning on ImageNet-21k: batch 4096, 90 epochs, 20 of them warm-up."""

_base_ = 'finetune_100e.py'

lr = 6e-4

optim_wrapper = dict(optimizer=dict(lr=lr), paramwise_cfg=dict(layer_decay_rate=0.75))
param_scheduler = _base_.param_scheduler
param_scheduler[1].update(end=90, eta_min_ratio=1e-6 / lr)
train_cfg = dict(max_epochs=90)
# The data set has no validation part.
val_cfg = None
test_cfg = None
auto_scale_lr = dict(base_batch_size=4096)

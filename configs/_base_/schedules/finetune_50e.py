"""Fine-tuning of ViT-L/16 (Table 10): 50 epochs, 5 of them warm-up."""

_base_ = 'finetune_100e.py'

optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.8))
param_scheduler = _base_.param_scheduler
param_scheduler[0].update(end=5)
param_scheduler[1].update(begin=5, end=50)
train_cfg = dict(max_epochs=50)

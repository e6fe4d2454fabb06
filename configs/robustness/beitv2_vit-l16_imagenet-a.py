"""Robustness of the fine-tuned ViT-L/16 on ImageNet-A, among its 200 classes.

    tools/dist_test.sh configs/robustness/beitv2_vit-l16_imagenet-a.py CHECKPOINT 8

CHECKPOINT: of configs/finetune/beitv2_vit-l16_1600e_in1k-224.py, or any other fine-tuned ViT-L/16.

Paper: section 3 (robustness).
Published: not recorded here.
"""

_base_ = [
    '../_base_/models/classifier_vit-l16.py',
    '../_base_/datasets/imagenet-a.py',
    '../_base_/schedules/finetune_50e.py',
    '../_base_/default_runtime.py',
]

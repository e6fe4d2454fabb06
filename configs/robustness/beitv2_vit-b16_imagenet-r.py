"""Robustness of the fine-tuned ViT-B/16 on ImageNet-R, among its 200 classes.

    tools/dist_test.sh configs/robustness/beitv2_vit-b16_imagenet-r.py CHECKPOINT 8

CHECKPOINT: of configs/finetune/beitv2_vit-b16_1600e_in1k-224.py, or any other fine-tuned ViT-B/16.

Paper: section 3 (robustness).
Published: not recorded here.
"""

_base_ = [
    '../_base_/models/classifier_vit-b16.py',
    '../_base_/datasets/imagenet-r.py',
    '../_base_/schedules/finetune_100e.py',
    '../_base_/default_runtime.py',
]

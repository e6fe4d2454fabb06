"""Robustness of the fine-tuned ViT-L/16 on ImageNet-R, among its 200 classes.

    tools/dist_test.sh configs/robustness/beitv2_vit-l16_imagenet-r.py CHECKPOINT 8

CHECKPOINT: of configs/finetune/beitv2_vit-l16_1600e_in1k-224.py, or any other fine-tuned ViT-L/16.

Recipe: none (nothing is trained).
Results: Table 3.
Published: 69.940 top-1, 82.890 top-5 (official logs); the official weights measured by others
70.440 (timm's results).
Time: unknown.
Memory: unknown.
Final loss: none, nothing is trained.
"""

_base_ = [
    '../_base_/models/classifier_vit-l16.py',
    '../_base_/datasets/imagenet-r.py',
    '../_base_/schedules/finetune_50e.py',
    '../_base_/default_runtime.py',
]

"""The fine-tuned ViT-L/16 on ImageNet-ReaL: the validation photos with reassessed labels.

    tools/dist_test.sh configs/robustness/beitv2_vit-l16_imagenet-real.py CHECKPOINT 8

CHECKPOINT: of configs/finetune/beitv2_vit-l16_1600e_in1k-224.py, or any other fine-tuned ViT-L/16.

Recipe: none (nothing is trained).
Results: none.
Published: 90.112 top-1 with the official weights (timm's results).
Time: unknown.
Memory: unknown.
Final loss: none, nothing is trained.
"""

_base_ = [
    '../_base_/models/classifier_vit-l16.py',
    '../_base_/datasets/imagenet-real.py',
    '../_base_/schedules/finetune_50e.py',
    '../_base_/default_runtime.py',
]

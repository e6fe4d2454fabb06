"""The fine-tuned ViT-B/16 on ImageNetV2 (matched frequency): new photos of all 1000 classes.

    tools/dist_test.sh configs/robustness/beitv2_vit-b16_imagenet-v2.py CHECKPOINT 8

CHECKPOINT: of configs/finetune/beitv2_vit-b16_1600e_in1k-224.py, or any other fine-tuned ViT-B/16.

Recipe: none (nothing is trained).
Results: none.
Published: 76.47 top-1 with the official weights (timm's results).
Time: unknown.
Memory: unknown.
Final loss: none, nothing is trained.
"""

_base_ = [
    '../_base_/models/classifier_vit-b16.py',
    '../_base_/datasets/imagenet-v2.py',
    '../_base_/schedules/finetune_100e.py',
    '../_base_/default_runtime.py',
]

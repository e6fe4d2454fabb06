"""Fine-tune the teacher itself: the image tower of CLIP ViT-B/16.

    tools/dist_train.sh configs/ablation/finetune_teacher_clip.py 8

Total batch 1024 = 8 GPUs × 128; otherwise as ViT-B/16 of 300 epochs. Without a network, set
model.backbone.checkpoint to a local copy of the weight file.

Recipe: Table 10.
Results: Table 6.
Published: not recorded here; the tokenizer's encoder is below its teacher, and the teacher below
BEiT v2 (text of section 3.4).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'finetune_teacher_dino.py'

model = dict(backbone=dict(model='vit_base_patch16_clip_quickgelu_224.openai'))
data_preprocessor = dict(
    mean=[122.771, 116.746, 104.094],
    std=[68.501, 66.632, 70.323],
)

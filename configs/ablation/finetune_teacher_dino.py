"""Fine-tune the teacher itself: DINO ViT-B/16.

    tools/dist_train.sh configs/ablation/finetune_teacher_dino.py 8

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

_base_ = '../finetune/beitv2_vit-b16_300e_in1k-224.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='mmbeitv2.TimmViT',
        model='vit_base_patch16_224.dino',
        drop_path_rate=0.1,
    )
)

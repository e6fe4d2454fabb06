"""Fine-tune the tokenizer's encoder itself (DINO teacher): what pretraining adds to it.

    tools/dist_train.sh configs/ablation/finetune_vqkd-encoder_dino.py 8

Total batch 1024 = 8 GPUs × 128; otherwise as ViT-B/16 of 300 epochs.

Recipe: Table 10.
Results: Table 6.
Published: not recorded here; the tokenizer's encoder is below its teacher, and the teacher below
BEiT v2 (text of section 3.4).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'finetune_vqkd-encoder_clip.py'

model = dict(
    backbone=dict(
        init_cfg=dict(
            checkpoint='work_dirs/vqkd_encoder-b16_decoder-1x768x12_dino-b16_100e/epoch_100.pth'
        )
    )
)

"""Fine-tune the tokenizer's encoder itself (CLIP teacher): what pretraining adds to it.

    tools/dist_train.sh configs/ablation/finetune_vqkd-encoder_clip.py 8

Total batch 1024 = 8 GPUs × 128; otherwise as ViT-B/16 of 300 epochs.

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
        init_values=None,
        use_abs_pos_emb=True,
        use_rel_pos_bias=False,
        init_cfg=dict(
            checkpoint='work_dirs/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e/epoch_100.pth',
            prefix='encoder.',
        ),
    )
)
# The tokenizer sees RGB in [−1, 1].
data_preprocessor = dict(mean=[127.5] * 3, std=[127.5] * 3)

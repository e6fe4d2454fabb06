"""Pretraining on codes of width 16.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_tokenizer-dim-16.py 8

Total batch 2048 = 8 GPUs × 256.

Recipe: Table 9.
Results: Table 4.
Published: not recorded here; a smaller width of codes raises their usage (text of section 3.4).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

tokenizer_checkpoint = 'work_dirs/vqkd_dim-16/epoch_100.pth'

model = dict(
    target_generator=dict(
        quantizer=dict(code_dim=16), init_cfg=dict(checkpoint=tokenizer_checkpoint)
    )
)

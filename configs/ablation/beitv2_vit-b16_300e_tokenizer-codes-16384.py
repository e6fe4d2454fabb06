"""Pretraining on 16384 codes.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_tokenizer-codes-16384.py 8

Total batch 2048 = 8 GPUs × 256.

Recipe: Table 9.
Results: Table 4.
Published: not recorded here.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

tokenizer_checkpoint = 'work_dirs/vqkd_codes-16384/epoch_100.pth'

model = dict(
    head=dict(num_codes=16384),
    target_generator=dict(
        quantizer=dict(num_codes=16384), init_cfg=dict(checkpoint=tokenizer_checkpoint)
    ),
)

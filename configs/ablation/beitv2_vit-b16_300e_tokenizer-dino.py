"""Pretraining without CLIP: codes of the tokenizer with the DINO teacher.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_tokenizer-dino.py 8

Total batch 2048 = 8 GPUs × 256. The tokenizer is the published one; one's own is trained by
configs/vqkd/vqkd_encoder-b16_decoder-1x768x12_dino-b16_100e.py (see the base run).

Recipe: Table 9.
Results: Table 6.
Published: 84.4 top-1 after fine-tuning at 224 pixels, 49.2 mIoU on ADE20K (text of Table 6).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

tokenizer_checkpoint = 'vqkd-b16-dino'

model = dict(target_generator=dict(init_cfg=dict(checkpoint=tokenizer_checkpoint)))

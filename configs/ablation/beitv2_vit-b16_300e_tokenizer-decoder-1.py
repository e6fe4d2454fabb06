"""Pretraining on the codes of a tokenizer with a decoder of one layer.

    tools/dist_train.sh configs/ablation/beitv2_vit-b16_300e_tokenizer-decoder-1.py 8

Total batch 2048 = 8 GPUs × 256. The tokenizer is the published one; one's own is trained by
configs/vqkd/vqkd_encoder-b16_decoder-1x768x12_clip-b16_100e.py (see the base run).

Recipe: Table 9.
Results: Table 4.
Published: not recorded here; a deeper decoder reconstructs better, uses fewer codes and is worse
downstream (text of section 3.4).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = '../beitv2_vit-b16_300e.py'

tokenizer_checkpoint = 'vqkd-b16-clip-d1'

model = dict(target_generator=dict(init_cfg=dict(checkpoint=tokenizer_checkpoint)))

"""VQ-KD of the paper's base tokenizer (Table 8): CLIP ViT-B/16 teacher, 3-layer decoder.

    tools/dist_train.sh configs/vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py 8

Total batch 512 = 8 GPUs × 64.

Recipe: Table 8.
Results: Table 4 (decoder depth).
Published: 95 % (the paper) or 97 % (official release) of 8192 codes used.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = [
    '../_base_/models/vqkd_encoder-b16.py',
    '../_base_/datasets/vqkd_imagenet.py',
    '../_base_/schedules/vqkd_100e.py',
    '../_base_/default_runtime.py',
]

model = dict(encoder=dict(img_size=_base_.image_size))
custom_hooks = [
    dict(type='mmbeitv2.CodebookInitHook', vectors_per_code=8),
    dict(type='mmbeitv2.CodebookUsageHook'),
]
val_evaluator = dict(type='mmbeitv2.TokenizerMetric', num_codes=8192)
test_evaluator = val_evaluator

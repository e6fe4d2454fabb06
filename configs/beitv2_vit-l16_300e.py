"""BEiT v2, ViT-L/16, 300 epochs on ImageNet-1k, with the tokenizer of the base run.

    tools/dist_train.sh configs/beitv2_vit-l16_300e.py 8

Total batch 2048 = 8 GPUs × 256; on fewer or smaller GPUs see --accumulate in docs/options.md.

Recipe: Table 9.
Results: Table 1.
Published: 86.6 top-1 after fine-tuning at 224 pixels (Table 1, official README).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'beitv2_vit-b16_300e.py'

width = dict(embed_dim=1024, num_heads=16)

model = dict(
    backbone=dict(arch='large', init_values=1e-5),
    neck=dict(layer=21, init_values=1e-5, **width),
    head=dict(embed_dim=width['embed_dim']),
)

"""Which layer, feature and learning rate probe best: 24 linear probes of ViT-B/16 in one run.

    tools/dist_train.sh configs/linear_probe/beitv2_vit-b16_300e_sweep.py 8

Total batch 1024 = 8 GPUs × 128. Logs probe/top1_layer12_cls_lr4e-3 and so on.

Recipe: none.
Results: none.
Published: nothing to compare with.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'beitv2_vit-b16_300e_cls.py'

rates = {'lr1e-3': 0.25, 'lr2e-3': 0.5, 'lr4e-3': 1.0, 'lr1e-2': 2.5}  # times the base rate 4e-3
layers = (8, 10, 12)

model = dict(
    backbone=dict(out_indices=[layer - 1 for layer in layers]),
    head=dict(
        features=('cls', 'avg'),
        layers=[f'layer{layer}' for layer in layers],
        rates=list(rates),
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={name: dict(lr_mult=factor) for name, factor in rates.items()})
)

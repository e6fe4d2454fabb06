"""ViT-L/16 under a linear classifier, as the paper fine-tunes it (Table 10)."""

_base_ = 'classifier_vit-b16.py'

model = dict(
    backbone=dict(arch='large', init_values=1e-5, drop_path_rate=0.2), head=dict(in_channels=1024)
)

"""UperNet on BEiT v2 ViT-L/16, width 1024."""

_base_ = './upernet_beitv2.py'

width = 1024
model = dict(
    backbone=dict(arch='large', init_values=1e-5, drop_path_rate=0.2, out_indices=(7, 11, 15, 23)),
    neck=dict(embed_dim=width),
    decode_head=dict(in_channels=[width] * 4, channels=width),
    auxiliary_head=dict(in_channels=width),
)

"""ADE20K with UperNet, ViT-B/16 pretrained for 300 epochs.

    tools/dist_train.sh configs/segmentation/upernet_beitv2-b16_300e_160k_ade20k-512x512.py 8

Total batch 16 = 8 GPUs × 2.

Recipe: Table 11.
Results: none from this start.
Published: 52.7 mIoU (as quoted by a later paper); 53.1 from 1600 epochs (Table 1, official README).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'upernet_beitv2-b16_1600e_160k_ade20k-512x512.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/beitv2_vit-b16_300e/epoch_300.pth')))

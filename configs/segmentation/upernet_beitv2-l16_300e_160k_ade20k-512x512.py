"""ADE20K with UperNet, ViT-L/16 pretrained for 300 epochs.

    tools/dist_train.sh configs/segmentation/upernet_beitv2-l16_300e_160k_ade20k-512x512.py 8

Total batch 16 = 8 GPUs × 2.

Recipe: Table 11.
Results: none from this start.
Published: none from this start; 56.7 mIoU from 1600 epochs (Table 1, official README).
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'upernet_beitv2-l16_1600e_160k_ade20k-512x512.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='work_dirs/beitv2_vit-l16_300e/epoch_300.pth')))

"""ADE20K with UperNet at 640×640 pixels, ViT-B/16 pretrained for 1600 epochs, then on 21k.

    tools/dist_train.sh configs/segmentation/upernet_beitv2-b16_in21k_160k_ade20k-640x640.py 8

Total batch 16 = 8 GPUs × 2.

Recipe: none.
Results: none.
Published: nothing to compare with.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'upernet_beitv2-b16_1600e_160k_ade20k-640x640.py'

model = dict(
    backbone=dict(init_cfg=dict(checkpoint='work_dirs/beitv2_vit-b16_1600e_in21k/epoch_90.pth'))
)
optim_wrapper = dict(paramwise_cfg=dict(layer_decay_rate=0.85))

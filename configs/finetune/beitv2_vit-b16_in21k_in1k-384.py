"""Fine-tune ViT-B/16 on ImageNet-1k at 384 pixels, after ImageNet-21k.

    tools/dist_train.sh configs/finetune/beitv2_vit-b16_in21k_in1k-384.py 8

Total batch 1024 = 8 GPUs × 128. The relative bias is resized from 14 × 14 to 24 × 24 patches.

Recipe: Table 10.
Results: Table 7.
Published: not recorded here.
Time: unknown.
Memory: unknown.
Final loss: unknown.
"""

_base_ = 'beitv2_vit-b16_in21k_in1k-224.py'

image_size = 384

model = dict(backbone=dict(img_size=image_size))
train_pipeline = _base_.train_pipeline
train_pipeline[0]['transforms'][0]['size'] = image_size
val_pipeline = _base_.val_pipeline
# The whole short side is tested, as in the official script.
val_pipeline[0].update(size=image_size, short_side=image_size)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=val_pipeline))
test_dataloader = val_dataloader

"""The demo's pretraining on the codes of ``vqkd_demo_low-level``.

tools/dist_train.sh configs/demo/beitv2_demo_low-level.py 2
"""

_base_ = 'beitv2_demo.py'

tokenizer_checkpoint = 'work_dirs/vqkd_demo_low-level/epoch_4.pth'

model = dict(target_generator=dict(init_cfg=dict(checkpoint=tokenizer_checkpoint)))

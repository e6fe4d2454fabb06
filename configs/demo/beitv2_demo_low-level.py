"""The demo's pretraining on the codes of ``vqkd_demo_low-level``.

python tools/train.py configs/demo/beitv2_demo_low-level.py
"""

_base_ = 'beitv2_demo.py'

tokenizer_checkpoint = 'work_dirs/vqkd_demo_low-level/last_checkpoint'

model = dict(target_generator=dict(init_cfg=dict(checkpoint=tokenizer_checkpoint)))

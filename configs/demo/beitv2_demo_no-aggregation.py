"""The demo's pretraining without patch aggregation.

python tools/train.py configs/demo/beitv2_demo_no-aggregation.py
"""

_base_ = 'beitv2_demo.py'

model = dict(neck=None)

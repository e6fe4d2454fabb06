"""The demo's pretraining with a head and a norm of its own for patch aggregation.

tools/dist_train.sh configs/demo/beitv2_demo_separate-head.py 2
"""

_base_ = 'beitv2_demo.py'

model = dict(neck=dict(shared_norm=False), head=dict(shared=False))

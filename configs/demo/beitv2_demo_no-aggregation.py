"""The demo's pretraining without patch aggregation.

tools/dist_train.sh configs/demo/beitv2_demo_no-aggregation.py 2
"""

_base_ = 'beitv2_demo.py'

model = dict(neck=None)

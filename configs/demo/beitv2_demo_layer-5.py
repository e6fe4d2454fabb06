"""The demo's pretraining with patch aggregation from layer 5 of 6 instead of 4.

tools/dist_train.sh configs/demo/beitv2_demo_layer-5.py 2
"""

_base_ = 'beitv2_demo.py'

model = dict(neck=dict(layer=5))

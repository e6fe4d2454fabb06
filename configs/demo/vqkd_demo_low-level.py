"""The demo's tokenizer with low-level features of the same network as teacher (stride 8).

tools/dist_train.sh configs/demo/vqkd_demo_low-level.py 2
"""

_base_ = 'vqkd_demo.py'

model = dict(teacher=dict(out_index=2))

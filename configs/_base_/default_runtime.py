"""What every mmpretrain run shares."""

default_scope = 'mmpretrain'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    throughput=dict(type='mmbeitv2.ImagesPerSecondHook'),
    data_wait=dict(type='mmbeitv2.DataWaitHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=1, max_keep_ckpts=2),
    plain_checkpoint=dict(type='mmbeitv2.PlainCheckpointHook'),
    finite_loss=dict(type='mmbeitv2.FiniteLossHook', interval=10),
    record=dict(type='mmbeitv2.RunRecordHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, diff_rank_seed=True)

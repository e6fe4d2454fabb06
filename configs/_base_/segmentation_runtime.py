"""What every mmsegmentation run shares."""

default_scope = 'mmseg'

default_hooks = dict(
    runtime_info=dict(type='mmbeitv2.DeferredRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    throughput=dict(type='mmbeitv2.ImagesPerSecondHook'),
    data_wait=dict(type='mmbeitv2.DataWaitHook'),
    logger=dict(type='LoggerHook', interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Before the layers are compiled, which keep what it chooses.
    attention=dict(type='mmbeitv2.AttentionTrialHook'),
    compile=dict(type='mmbeitv2.CompileHook', device='cuda'),
    # Once half an hour has passed since the last one.
    checkpoint=dict(type='mmbeitv2.CheckpointHook', by_epoch=False, max_keep_ckpts=2),
    # Where another project's tools run this config, too.
    refuse_code=dict(type='mmbeitv2.RefuseCodeHook'),
    plain_checkpoint=dict(type='mmbeitv2.PlainCheckpointHook'),
    finite_loss=dict(type='mmbeitv2.FiniteLossHook'),
    sound_weights=dict(type='mmbeitv2.SoundWeightsHook'),
    # Randomness of a step by seed and iteration, and the rest of what resuming exactly takes.
    step_seed=dict(type='mmbeitv2.StepSeedHook'),
    exact_resume=dict(type='mmbeitv2.ExactResumeHook'),
    # A signal saves and ends the run with exit code 75; --resume goes on.
    stop=dict(type='mmbeitv2.StopHook'),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='mmbeitv2.SegmentationPictureHook'),
)

env_cfg = dict(
    cudnn_benchmark=True,
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=0),
    dist_cfg=dict(backend='nccl'),
)
visualizer = dict(
    type='SegLocalVisualizer', vis_backends=[dict(type='LocalVisBackend')], name='visualizer'
)
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
randomness = dict(seed=0, diff_rank_seed=True)

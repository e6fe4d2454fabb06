"""What every mmpretrain run shares."""

default_scope = 'mmpretrain'

default_hooks = dict(
    runtime_info=dict(type='mmbeitv2.DeferredRuntimeInfoHook'),
    timer=dict(type='IterTimerHook'),
    throughput=dict(type='mmbeitv2.ImagesPerSecondHook'),
    data_wait=dict(type='mmbeitv2.DataWaitHook'),
    logger=dict(type='LoggerHook', interval=50),
    param_scheduler=dict(type='ParamSchedulerHook'),
    # Before the layers are compiled, which keep what it chooses.
    attention=dict(type='mmbeitv2.AttentionTrialHook'),
    compile=dict(type='mmbeitv2.CompileHook', device='cuda'),
    # At the end of an epoch, once half an hour has passed since the last one.
    checkpoint=dict(type='mmbeitv2.CheckpointHook', max_keep_ckpts=2),
    # Where another project's tools run this config, too.
    refuse_code=dict(type='mmbeitv2.RefuseCodeHook'),
    plain_checkpoint=dict(type='mmbeitv2.PlainCheckpointHook'),
    finite_loss=dict(type='mmbeitv2.FiniteLossHook'),
    sound_weights=dict(type='mmbeitv2.SoundWeightsHook'),
    varied_codes=dict(type='mmbeitv2.VariedCodesHook'),
    record=dict(type='mmbeitv2.RunRecordHook'),
    replaced_images=dict(type='mmbeitv2.ReplacedImagesHook'),
    same_classes=dict(type='mmbeitv2.SameClassesHook'),
    # Randomness of a step by seed and iteration, and the rest of what resuming exactly takes.
    step_seed=dict(type='mmbeitv2.StepSeedHook'),
    exact_resume=dict(type='mmbeitv2.ExactResumeHook'),
    # A signal saves and ends the run with exit code 75; --resume goes on.
    stop=dict(type='mmbeitv2.StopHook'),
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

"""Hooks, loops, precision, the optimiser's constructor and wrapper."""

from mmbeitv2.engine.attention_hook import AttentionTrialHook
from mmbeitv2.engine.checkpoint_hook import CheckpointHook
from mmbeitv2.engine.codebook_hooks import CodebookInitHook, CodebookUsageHook
from mmbeitv2.engine.compile_hook import CompileHook, compile_layers
from mmbeitv2.engine.data_wait_hook import DataWaitHook
from mmbeitv2.engine.deferred_scalars import DeferredGradNorm, DeferredScalars
from mmbeitv2.engine.ema_hook import EMAHook
from mmbeitv2.engine.exact_resume_hook import ExactResumeHook
from mmbeitv2.engine.loops import TestLoop, ValLoop
from mmbeitv2.engine.loss_hook import FiniteLossHook
from mmbeitv2.engine.optim import LayerDecayOptimWrapperConstructor, OptimWrapperConstructor
from mmbeitv2.engine.optim_wrapper import BFloat16OptimWrapper, MixedPrecisionOptimWrapper
from mmbeitv2.engine.photo_hooks import ReplacedImagesHook, SameClassesHook
from mmbeitv2.engine.plain_checkpoint_hook import PlainCheckpointHook
from mmbeitv2.engine.precision import choose_precision
from mmbeitv2.engine.record_hook import RunRecordHook
from mmbeitv2.engine.refuse_code_hook import RefuseCodeHook
from mmbeitv2.engine.runtime_info_hook import DeferredRuntimeInfoHook
from mmbeitv2.engine.segmentation_hook import SegmentationPictureHook
from mmbeitv2.engine.sound_weights_hook import SoundWeightsHook
from mmbeitv2.engine.step_seed_hook import StepSeedHook
from mmbeitv2.engine.stop_hook import StopHook
from mmbeitv2.engine.throughput_hook import ImagesPerSecondHook
from mmbeitv2.engine.varied_codes_hook import VariedCodesHook

__all__ = [
    'AttentionTrialHook',
    'BFloat16OptimWrapper',
    'CheckpointHook',
    'CodebookInitHook',
    'CodebookUsageHook',
    'CompileHook',
    'DataWaitHook',
    'DeferredGradNorm',
    'DeferredRuntimeInfoHook',
    'DeferredScalars',
    'EMAHook',
    'ExactResumeHook',
    'FiniteLossHook',
    'ImagesPerSecondHook',
    'LayerDecayOptimWrapperConstructor',
    'MixedPrecisionOptimWrapper',
    'OptimWrapperConstructor',
    'PlainCheckpointHook',
    'RefuseCodeHook',
    'ReplacedImagesHook',
    'RunRecordHook',
    'SameClassesHook',
    'SegmentationPictureHook',
    'SoundWeightsHook',
    'StepSeedHook',
    'StopHook',
    'TestLoop',
    'ValLoop',
    'VariedCodesHook',
    'choose_precision',
    'compile_layers',
]

"""Hooks, the optimiser constructor and the optimiser wrapper."""

from mmbeitv2.engine.checkpoint_hook import PlainCheckpointHook
from mmbeitv2.engine.codebook_hooks import CodebookInitHook, CodebookUsageHook
from mmbeitv2.engine.compile_hook import CompileHook, compile_layers
from mmbeitv2.engine.data_wait_hook import DataWaitHook
from mmbeitv2.engine.loss_hook import FiniteLossHook
from mmbeitv2.engine.optim import LayerDecayOptimWrapperConstructor
from mmbeitv2.engine.optim_wrapper import BFloat16OptimWrapper
from mmbeitv2.engine.record_hook import RunRecordHook
from mmbeitv2.engine.throughput_hook import ImagesPerSecondHook

__all__ = [
    'BFloat16OptimWrapper',
    'CodebookInitHook',
    'CodebookUsageHook',
    'CompileHook',
    'DataWaitHook',
    'FiniteLossHook',
    'ImagesPerSecondHook',
    'LayerDecayOptimWrapperConstructor',
    'PlainCheckpointHook',
    'RunRecordHook',
    'compile_layers',
]

"""Metrics of tokenizers, of pretraining, of linear probes and of robustness; outcomes by photo."""

from mmbeitv2.evaluation.learning_hook import LearningHook
from mmbeitv2.evaluation.metrics import LinearProbeMetric, MaskedCodeMetric, TokenizerMetric
from mmbeitv2.evaluation.outcomes_hook import PhotoOutcomesHook
from mmbeitv2.evaluation.real import ImageNetReaLAccuracy
from mmbeitv2.evaluation.robustness import ImageNetSubsetAccuracy

__all__ = [
    'ImageNetReaLAccuracy',
    'ImageNetSubsetAccuracy',
    'LearningHook',
    'LinearProbeMetric',
    'MaskedCodeMetric',
    'PhotoOutcomesHook',
    'TokenizerMetric',
]

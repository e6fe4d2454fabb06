"""Metrics of tokenizers, of pretraining, of linear probes and of robustness."""

from mmbeitv2.evaluation.metrics import LinearProbeMetric, MaskedCodeMetric, TokenizerMetric
from mmbeitv2.evaluation.robustness import ImageNetSubsetAccuracy

__all__ = ['ImageNetSubsetAccuracy', 'LinearProbeMetric', 'MaskedCodeMetric', 'TokenizerMetric']

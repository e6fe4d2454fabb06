"""Metrics of tokenizers, of pretraining and of linear probes."""

from mmbeitv2.evaluation.metrics import LinearProbeMetric, MaskedCodeMetric, TokenizerMetric

__all__ = ['LinearProbeMetric', 'MaskedCodeMetric', 'TokenizerMetric']

"""Transforms, sampler and data preprocessors of tokenizer training and pretraining."""

from .data_preprocessor import BEiTV2DataPreprocessor, VQKDDataPreprocessor
from .loading import LoadImage
from .masking import BlockMask, RandomMask
from .sampling import EpochSampler, SampleIndex, SampleSeeded

__all__ = [
    'BEiTV2DataPreprocessor',
    'BlockMask',
    'EpochSampler',
    'LoadImage',
    'RandomMask',
    'SampleIndex',
    'SampleSeeded',
    'VQKDDataPreprocessor',
]

"""Transforms, sampler and data preprocessors."""

from .data_preprocessor import BEiTV2DataPreprocessor, VQKDDataPreprocessor
from .loading import LoadImage
from .masking import BlockMask, RandomMask
from .sampling import EpochSampler, SampleIndex, SampleSeeded
from .segmentation import CheckSegmentation

__all__ = [
    'BEiTV2DataPreprocessor',
    'BlockMask',
    'CheckSegmentation',
    'EpochSampler',
    'LoadImage',
    'RandomMask',
    'SampleIndex',
    'SampleSeeded',
    'VQKDDataPreprocessor',
]

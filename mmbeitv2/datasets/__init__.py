"""Transforms, sampler and data preprocessors."""

from .data_preprocessor import BEiTV2DataPreprocessor, VQKDDataPreprocessor
from .jitter import JitterCrop
from .loading import LoadImage
from .masking import BlockMask, RandomMask
from .random_crop import LoadRandomCrop
from .sampling import EpochSampler, SampleIndex, SampleSeeded
from .segmentation import CheckSegmentation

__all__ = [
    'BEiTV2DataPreprocessor',
    'BlockMask',
    'CheckSegmentation',
    'EpochSampler',
    'JitterCrop',
    'LoadImage',
    'LoadRandomCrop',
    'RandomMask',
    'SampleIndex',
    'SampleSeeded',
    'VQKDDataPreprocessor',
]

"""Transforms, sampler and data preprocessors."""

from .augmentation import RandAugment, RandomErasing
from .center_crop import LoadCenterCrop
from .data_preprocessor import BEiTV2DataPreprocessor, VQKDDataPreprocessor
from .jitter import JitterCrop
from .loading import LoadImage
from .masking import BlockMask, RandomMask
from .photos import Photos
from .random_crop import LoadRandomCrop
from .sampling import EndlessSampler, EpochSampler, SampleIndex, SampleSeeded
from .segmentation import CheckSegmentation, LoadSegmentationImage, LoadSegmentationMask

__all__ = [
    'BEiTV2DataPreprocessor',
    'BlockMask',
    'CheckSegmentation',
    'EndlessSampler',
    'EpochSampler',
    'JitterCrop',
    'LoadCenterCrop',
    'LoadImage',
    'LoadRandomCrop',
    'LoadSegmentationImage',
    'LoadSegmentationMask',
    'Photos',
    'RandAugment',
    'RandomErasing',
    'RandomMask',
    'SampleIndex',
    'SampleSeeded',
    'VQKDDataPreprocessor',
]

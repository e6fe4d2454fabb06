"""The demo data: cut-outs pasted on backgrounds, as classification and segmentation sets."""

from .assets import CLASSES, find_assets
from .collage import SEG_CLASSES, compose
from .errors import DemoDataError
from .make import make_demo_data

__all__ = [
    'CLASSES',
    'SEG_CLASSES',
    'DemoDataError',
    'compose',
    'find_assets',
    'make_demo_data',
]

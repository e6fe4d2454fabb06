"""The few functions that a script or a notebook needs."""

from mmbeitv2.apis.codebook import survey_codebook
from mmbeitv2.apis.inference import extract_features, load_pretrained, load_tokenizer, tokenize
from mmbeitv2.apis.photos import for_backbone, for_tokenizer, read_photos
from mmbeitv2.apis.showing import show_model

__all__ = [
    'extract_features',
    'for_backbone',
    'for_tokenizer',
    'load_pretrained',
    'load_tokenizer',
    'read_photos',
    'show_model',
    'survey_codebook',
    'tokenize',
]

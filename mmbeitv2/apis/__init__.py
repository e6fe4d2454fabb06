"""The few functions that a script or a notebook needs."""

from mmbeitv2.apis.codebook import survey_codebook
from mmbeitv2.apis.embedding import embed
from mmbeitv2.apis.encoder import PhotoEncoder, load_encoder
from mmbeitv2.apis.inference import extract_features, load_pretrained, load_tokenizer, tokenize
from mmbeitv2.apis.nearest import nearest
from mmbeitv2.apis.own_pretraining import OwnRun, pretrain
from mmbeitv2.apis.photos import for_backbone, for_model, for_tokenizer, read_photos
from mmbeitv2.apis.prediction import Segmenter, classify
from mmbeitv2.apis.showing import show_model

__all__ = [
    'OwnRun',
    'PhotoEncoder',
    'Segmenter',
    'classify',
    'embed',
    'extract_features',
    'for_backbone',
    'for_model',
    'for_tokenizer',
    'load_encoder',
    'load_pretrained',
    'load_tokenizer',
    'nearest',
    'pretrain',
    'read_photos',
    'show_model',
    'survey_codebook',
    'tokenize',
]

"""The few functions that a script or a notebook needs."""

from mmbeitv2.apis.inference import extract_features, load_pretrained, load_tokenizer, tokenize

__all__ = ['extract_features', 'load_pretrained', 'load_tokenizer', 'tokenize']

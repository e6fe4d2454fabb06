from browser import browser, open_page, width
from pictured_models import coded, model, photos, tokenizer

__all__ = ['browser', 'coded', 'model', 'open_page', 'photos', 'tokenizer', 'width']

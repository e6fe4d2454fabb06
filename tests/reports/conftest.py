from pictured_models import coded, model, photos, tokenizer

__all__ = ['coded', 'model', 'photos', 'tokenizer']

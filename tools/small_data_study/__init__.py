"""Parts of ``tools/small_data.py``: tokenizers of few photos, and what their codes are worth."""

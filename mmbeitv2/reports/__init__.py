"""Pages: figures, pictures and what they mean."""

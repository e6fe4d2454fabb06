"""Pictures: from tensors, photos and logs to a figure."""

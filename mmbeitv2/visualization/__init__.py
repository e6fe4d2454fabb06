"""Pictures of codebooks, predictions and curves, and the report that gathers them."""

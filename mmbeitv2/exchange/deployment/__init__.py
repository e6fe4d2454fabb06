"""A trained model as one file that runs without this package, and the proof that it is the same."""

"""From a file of any project to tensors under our names, and into a model; knows no model.

A checkpoint is found (``sources``), read (``reading``), recognised (``translation``, by the tables
of ``layouts``), renamed (``naming``), and fitted and loaded (``loading``).
"""

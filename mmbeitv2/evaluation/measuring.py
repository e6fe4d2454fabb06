"""The figures of one look at a run: those of its kind, of the epoch's codes, and of its labels."""

import numpy as np
from mmengine.runner import Runner

from mmbeitv2.evaluation.learning_measures import (
    FEATURES,
    Measures,
    pretraining_measures,
    probe_measures,
    tokenizer_measures,
)
from mmbeitv2.evaluation.looked_photos import LEAST_CLASSES
from mmbeitv2.evaluation.looks import Seen
from mmbeitv2.evaluation.viewing import Viewing, quantizer_of
from mmbeitv2.models.quantizer import perplexity


def measures_of(
    runner: Runner, kind: str, viewing: Viewing, seen: dict[str, Seen], before: np.ndarray | None
) -> Measures:
    """Compute the figures of a look.

    Args:
        runner: of the run.
        kind: ``'pretraining'`` or ``'tokenizer'``.
        viewing: that has looked.
        seen: by all processes.
        before: codes of the same photos at the look before, of a tokenizer; or None.
    """
    quantizer = quantizer_of(runner)
    groups = seen['held_out'], seen['training'], quantizer.num_codes
    if kind == 'pretraining':
        found = pretraining_measures(*groups)
    else:
        found = tokenizer_measures(*groups, before)
        if runner.iter:
            counts = quantizer.code_counts
            found.values['usage_epoch'] = (counts > 0).float().mean().item()
            found.values['perplexity_epoch'] = perplexity(counts).item()
    labels = viewing.groups['labelled'].labels if 'labelled' in seen else None
    if labels is not None:
        # Photos that cannot be read have no features.
        labels = labels[seen['labelled']['position']]
    if labels is not None and len(np.unique(labels)) >= LEAST_CLASSES:
        probes = probe_measures(seen['labelled'], labels, FEATURES[kind])
        found.values.update(probes.values)
        found.errors.update(probes.errors)
        found.by_photo.update(probes.by_photo)
    return found

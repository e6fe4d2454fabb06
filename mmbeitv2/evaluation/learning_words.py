"""How a run's looks are put into words."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmbeitv2.evaluation.changes import NOISE, Change, change
from mmbeitv2.evaluation.collapse import feature_name


def probe_changes(looks: Sequence[Mapping[str, Any]]) -> dict[str, Change]:
    """How each probe's answers differ from those on random weights, if the first look had them."""
    first, last = looks[0], looks[-1]
    if first['iter'] != 0 or first['start'] != 'random' or last['iter'] == 0:
        return {}
    names = [name for name in last['by_photo'] if name.startswith(('knn_', 'ridge_'))]
    changes = {name: change(first, last, name) for name in names}
    return {name: found for name, found in changes.items() if found is not None}


def state(look: Mapping[str, Any]) -> str:
    """Where a look found the run."""
    m = look['measures']
    said = f'now {m["loss_held_out"]:.3f} (training photos {m["loss_training"]:.3f})'
    if look['kind'] == 'pretraining':
        over = m['over_majority'] > NOISE * look['errors'].get('over_majority', math.inf)
        return (
            f'{said}; {m["acc_held_out"]:.1%} of masked codes right, '
            f'{"above" if over else "not above"} the {m["acc_majority"]:.1%} of the most frequent '
            f'code'
        )
    changed = f', {m["codes_changed"]:.0%} of codes changed' if 'codes_changed' in m else ''
    return f'{said}; perplexity {m["code_perplexity"]:.1f} of {look["codes"]:,} codes{changed}'


def probes(looks: Sequence[Mapping[str, Any]]) -> str:
    """The best probe beside random weights; empty without labels."""
    changes = probe_changes(looks)
    if not changes:
        return ''
    m, before = looks[-1]['measures'], looks[0]['measures']
    name = max(changes, key=lambda name: m[name])
    rival = max(before[other] for other in changes)
    kind, feature = name.split('_')
    better = changes[name].above() and m[name] > rival
    return (
        f'; {"5-NN" if kind == "knn" else "ridge probe"} of {feature_name(feature)} {m[name]:.1%}, '
        f'{"above" if better else "not above"} random weights ({before[name]:.1%}, their best '
        f'probe {rival:.1%}; ± {NOISE * changes[name].error:.1%})'
    )


def amount(found: Change) -> str:
    """How much, and how far chance may have a part in it."""
    return f'{abs(found.mean):.3f} ± {NOISE * found.error:.3f}'

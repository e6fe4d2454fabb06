"""Have codes, predictions or features become one and the same?"""

import math
from collections.abc import Mapping
from typing import Any

from mmbeitv2.evaluation.changes import NOISE

# A codebook in which fewer than one code in twenty is used evenly: healthy runs had a half and
# more, collapsed ones 2 to 3 % (perplexity 6 of 256 codes, while an epoch used them all).
COLLAPSED_PERPLEXITY = 0.05
# Features of all photos along one line: 1 is exactly one, and few photos cannot tell 1.05 from it.
COLLAPSED_RANK = 1.05
# Share of the features' length in which photos differ. Random weights have a hundred times this.
COLLAPSED_VARIATION = 1e-4
# Predictions that know so little of where they are made (nats) and have one code as their best
# guess nearly everywhere are a constant. Before the student has found more than how frequent codes
# are that is usual; then their loss is that of the frequencies, and a collapse is worse.
CONSTANT_INFORMATION, CONSTANT_GUESSES = 0.01, 1.1
WORSE_THAN_CONSTANT = 0.02


def collapse(last: Mapping[str, Any]) -> tuple[str, str] | None:
    """Whether codes, predictions or features have become one, which one look shows.

    Args:
        last: record of a look.

    Returns:
        Reason and advice; None where nothing has collapsed.
    """
    m, pretraining = last['measures'], last['kind'] == 'pretraining'
    few = max(2.0, COLLAPSED_PERPLEXITY * min(last['codes'], last['patches']))
    most = m['code_perplexity'] + NOISE * last['errors'].get('code_perplexity', math.inf)
    if most < few:
        return (
            f'the {last["photos"]["held_out"]} held-out photos use {m["code_perplexity"]:.1f} '
            f'codes evenly (perplexity) of {last["codes"]:,}{_usage(m)}',
            _cure(last),
        )
    if last['iter'] == 0:
        # Of random weights nothing more is asked.
        return None
    if pretraining and _is_constant(m):
        return (
            f'the head guesses one code nearly everywhere ({m["guess_perplexity"]:.2f} codes '
            f'evenly) and its loss, {m["loss_held_out"]:.3f}, is above the {m["loss_constant"]:.3f}'
            ' of the best constant prediction',
            'Start again with a learning rate of a third, a longer warm-up and clipped gradients '
            '(optim_wrapper.clip_grad).',
        )
    for name in ('mean', 'cls') if pretraining else ('mean',):
        rank, varied = m[f'rank_{name}'], m[f'varied_{name}']
        if rank < COLLAPSED_RANK and varied < COLLAPSED_VARIATION:
            return (
                f'all held-out photos have nearly the same features: effective rank {rank:.2f} '
                f'({feature_name(name)}), {varied:.2g} of their length differs',
                'Start again with a lower learning rate and a longer warm-up, and look at a few '
                'training photos (`mmbeitv2 browse`): are they all alike, or black?',
            )
    return None


def _is_constant(m: Mapping[str, float]) -> bool:
    same = m['guess_perplexity'] < CONSTANT_GUESSES
    same &= m['prediction_information'] < CONSTANT_INFORMATION
    return same and m['loss_held_out'] > m['loss_constant'] + WORSE_THAN_CONSTANT


def _cure(last: Mapping[str, Any]) -> str:
    if last['kind'] == 'pretraining':
        return 'Train another tokenizer: nothing can be learned from codes that are all alike.'
    below = last['revive_below']
    revive = (
        'set revive_below of the quantizer to 0.1 or more'
        if below is None
        else (f'raise revive_below of the quantizer above {below:g}')
    )
    return (
        f'Start again: {revive}, lower the learning rate, take fewer codes (num_codes), or a '
        'teacher whose features differ more on these photos.'
    )


def _usage(m: Mapping[str, float]) -> str:
    used = m.get('usage_epoch')
    return '' if used is None else f', although {used:.0%} were chosen at least once this epoch'


def feature_name(name: str) -> str:
    return '[CLS]' if name == 'cls' else 'the mean of patches'

"""Have codes, predictions or features become one and the same?"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from mmbeitv2.evaluation.changes import NOISE

# A codebook in which fewer than one code in twenty is used evenly: healthy runs had a half and
# more, collapsed ones 2 to 3 % (perplexity 6 of 256 codes, while an epoch used them all).
COLLAPSED_PERPLEXITY = 0.05
# Codes that are revived find their places once the learning rate falls: of 256 codes an own run of
# 11 epochs used 2, 10, 10, 18, 46 evenly, and 195 at its end.
SPREAD_AGAIN = 0.4
# Features of all photos along one line: 1 is exactly one, and few photos cannot tell 1.05 from it.
COLLAPSED_RANK = 1.05
# Share of the features' length in which photos differ. Random weights have a hundred times this.
COLLAPSED_VARIATION = 1e-4
# Predictions that know so little of where they are made (nats) and have one code as their best
# guess nearly everywhere are a constant. Every run passes through that: it learns first how
# frequent codes are, and its predictions are then as uncertain as these frequencies. One that is
# twice as sure, or that has known more before, has collapsed.
CONSTANT_INFORMATION, CONSTANT_GUESSES = 0.01, 1.1
SURE = 0.5
KNOWN_BEFORE = 0.1


def collapse(looks: Sequence[Mapping[str, Any]]) -> tuple[str, str] | None:
    """Whether codes, predictions or features have become one.

    Args:
        looks: records of the looks, in order, one or more; the last one is judged.

    Returns:
        Reason and advice; None where nothing has collapsed.
    """
    last = looks[-1]
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
    if pretraining and (how := _constant(looks)):
        return (
            f'the head guesses one code nearly everywhere (perplexity of its guesses '
            f'{m["guess_perplexity"]:.2f}), {how}',
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


def _constant(looks: Sequence[Mapping[str, Any]]) -> str:
    """In which way predictions have become a constant; empty where they have not."""
    m = looks[-1]['measures']
    if m['guess_perplexity'] > CONSTANT_GUESSES or (
        m['prediction_information'] > CONSTANT_INFORMATION
    ):
        return ''
    if m['prediction_entropy'] < SURE * m['loss_constant']:
        return (
            f'and is sure of it: entropy {m["prediction_entropy"]:.2f} nats, where the codes have '
            f'{m["loss_constant"]:.2f}'
        )
    best = max(looks, key=lambda look: look['measures']['prediction_information'])
    known = best['measures']['prediction_information']
    if known < KNOWN_BEFORE:
        return ''
    return f'where it told places apart by {known:.2f} nats at epoch {best["epoch"]}'


def _cure(last: Mapping[str, Any]) -> str:
    if last['kind'] == 'pretraining':
        return 'Train another tokenizer: nothing can be learned from codes that are all alike.'
    below = last['revive_below']
    revive = (
        'set revive_below of the quantizer to 0.1 or more'
        if below is None
        else (f'raise revive_below of the quantizer above {below:g}')
    )
    begin = 'Start again'
    if below is not None and last['iter'] < SPREAD_AGAIN * last['max_iters']:
        until = math.ceil(SPREAD_AGAIN * last['max_epochs'])
        begin = (
            f'Wait until epoch {until} of {last["max_epochs"]}: codes are revived, and may spread '
            'again as the learning rate falls. If they have not by then, start again'
        )
    return (
        f'{begin}: {revive}, lower the learning rate, take fewer codes (num_codes), or a '
        'teacher whose features differ more on these photos.'
    )


def _usage(m: Mapping[str, float]) -> str:
    used = m.get('usage_epoch')
    return '' if used is None else f', although {used:.0%} were chosen at least once this epoch'


def feature_name(name: str) -> str:
    return '[CLS]' if name == 'cls' else 'the mean of patches'

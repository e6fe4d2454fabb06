"""Is it learning? From the looks of a run so far to one word, the reason, and what to change."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from mmbeitv2.evaluation.changes import NOISE, Change, change, trend
from mmbeitv2.evaluation.collapse import collapse
from mmbeitv2.evaluation.learning_words import amount, probe_changes, probes, state

LEARNING, STALLED, MEMORISING = 'learning', 'stalled', 'memorising'
COLLAPSED, TOO_EARLY = 'collapsed', 'too early to tell'
LOSSES = 'loss_held_out', 'loss_training'
WORDS = (LEARNING, STALLED, MEMORISING, COLLAPSED, TOO_EARLY)

# Held-out loss is compared with its lowest so far, one of many looks, which chance has favoured.
NOISE_OF_BEST = 3.0
# Of fewer noisy photos the standard error is itself so uncertain that changes by chance are called
# gains one and a half to twice as often as of 64.
LEAST_PHOTOS = 16
# Share of the loss: held-out loss rises by some thousandths where a learning rate is high, which is
# no memorising, and a codebook that follows fixed weights gains as much, which is no learning.
LEAST_CHANGE = 0.005
# Warm-up takes up to a tenth of the schedules, and as much again until the rate has done something.
GRACE = 0.2
# Share of the schedule before which no standstill is said: the rate may still be warming up. A
# standstill is judged over as much of it at least: from epoch to epoch a loss that falls over the
# whole run wavers.
LEAST_WINDOW = 0.1
# A standstill is said only where a fall is not even likely, of one standard error, and where noise
# would show a quarter of a steady fall. Steady is over the logarithm of epochs: power laws of 5 to
# 1,600 epochs fall by 0.3 to 0.6 of that in their last third, 1.5 to 12 % of their whole fall.
LIKELY = 1.0
SHOWN = 0.25
# Looks after the first before a standstill is said.
LEAST_LOOKS = 3


class Verdict(NamedTuple):
    """What is said of a run.

    Attributes:
        word: one of ``WORDS``.
        reason: in numbers, a clause or two.
        advice: what to change, a sentence; empty where nothing is.
    """

    word: str
    reason: str
    advice: str


def verdict(history: Sequence[Mapping[str, Any]]) -> Verdict:
    """Judge a run by its looks; see ``docs/own_data.md`` for the rule in words.

    Args:
        history: records of :func:`~mmbeitv2.evaluation.learning_record.read_learning`, in order,
            one or more. Looks at other photos than the last one's are left out, and looks whose
            losses cannot be paired with it, photo by photo.
    """
    looks = [*(look for look in history[:-1] if _comparable(look, history[-1])), history[-1]]
    for rule in (_collapsed, _too_few, _memorising, _stalled):
        found = rule(looks)
        if found is not None:
            return found
    return _learning(looks)


def _comparable(look: Mapping[str, Any], last: Mapping[str, Any]) -> bool:
    pairs = (change(look, last, name) for name in LOSSES)
    return look['photos'] == last['photos'] and None not in pairs


def _of_losses(earlier: Mapping[str, Any], later: Mapping[str, Any], name: str) -> Change:
    found = change(earlier, later, name)
    assert found is not None, 'looks that cannot be compared are left out'
    return found


def _collapsed(looks: Sequence[Mapping[str, Any]]) -> Verdict | None:
    found = collapse(looks)
    return None if found is None else Verdict(COLLAPSED, *found)


def _too_few(looks: Sequence[Mapping[str, Any]]) -> Verdict | None:
    last = looks[-1]
    photos = min(last['photos'][name] for name in ('held_out', 'training'))
    if photos < LEAST_PHOTOS:
        return Verdict(
            TOO_EARLY,
            f'{photos} photos are too few to tell a change from noise, {LEAST_PHOTOS} are needed',
            'Give more held-out photos (val_dataloader, or photos of LearningHook).',
        )
    if len(looks) < 2:
        return Verdict(TOO_EARLY, f'this is the first look, {state(last)}', '')
    return None


def _memorising(looks: Sequence[Mapping[str, Any]]) -> Verdict | None:
    last = looks[-1]
    best = min(looks, key=lambda look: look['measures']['loss_held_out'])
    held_out = _of_losses(best, last, 'loss_held_out')
    training = _of_losses(best, last, 'loss_training')
    least = LEAST_CHANGE * best['measures']['loss_held_out']
    gap = last['measures']['loss_held_out'] - last['measures']['loss_training']
    gap_error = math.hypot(*(last['errors'][f'loss_{n}'] for n in ('held_out', 'training')))
    worse = held_out.above(NOISE_OF_BEST) and held_out.mean > least
    if not (worse and training.below() and gap > NOISE * gap_error):
        return None
    return Verdict(
        MEMORISING,
        f'since epoch {best["epoch"]} the loss of held-out photos rose by {amount(held_out)} '
        f'to {last["measures"]["loss_held_out"]:.3f}, while that of training photos fell by '
        f'{amount(training)} to {last["measures"]["loss_training"]:.3f}',
        f'Use the weights of about epoch {best["epoch"]}; then give more photos, more augmentation '
        '(a smaller lowest scale of the crop), a smaller model, or fewer epochs.',
    )


def _stalled(looks: Sequence[Mapping[str, Any]]) -> Verdict | None:
    last, done = looks[-1], looks[-1]['iter'] / looks[-1]['max_iters']
    if _trained(looks) < LEAST_LOOKS or done < LEAST_WINDOW:
        return None
    if done >= GRACE:
        for rule in (_no_better_than_constant, _worse_than_random):
            found = rule(looks)
            if found is not None:
                return found
    if looks[0]['iter'] > LEAST_WINDOW * last['max_iters']:
        # Other photos than at the start, whose whole fall is not known.
        return None
    since, fall = looks[0], _of_losses(looks[0], last, 'loss_held_out')
    least = LEAST_CHANGE * last['measures']['loss_held_out'] if done >= GRACE else 0.0
    # Schedules end at a rate of almost nothing, so that a standstill there is meant. A run that
    # has not moved at all is another matter.
    if _may_have_fallen(fall, least) and done < 1:
        whole, recent = -fall.mean, _window(looks)
        since, fall = recent[0], trend(recent, 'loss_held_out')
        steady = whole * (1 - math.log1p(since['epoch']) / math.log1p(last['epoch']))
        if NOISE * fall.error > SHOWN * steady:
            return None
        least = LEAST_CHANGE * whole
    if _may_have_fallen(fall, least):
        return None
    return Verdict(
        STALLED,
        f'since epoch {since["epoch"]} the loss of held-out photos has not fallen beyond noise '
        f'({fall.mean:+.4f} ± {NOISE * fall.error:.4f}, now '
        f'{last["measures"]["loss_held_out"]:.3f}, epoch {last["epoch"]} of {last["max_epochs"]})',
        'Look at the learning rate in the log: 0 or tiny calls for --auto-scale-lr or a warm-up '
        'that ends earlier, a large one for a third of it; if the curve was flat before, for a '
        'larger model, or an end here.',
    )


def _may_have_fallen(fall: Change, least: float) -> bool:
    return fall.below(LIKELY) and fall.mean < -least


def _trained(looks: Sequence[Mapping[str, Any]]) -> int:
    """Looks after training has begun."""
    return len(looks) - (looks[0]['iter'] == 0)


def _window(looks: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """The last third of the looks, or more: a part of the schedule."""
    last = looks[-1]
    third = looks[-1 - max(2, math.ceil(_trained(looks) / 3))]
    latest = last['iter'] - LEAST_WINDOW * last['max_iters']
    before = [look for look in looks if look['iter'] <= min(third['iter'], latest)]
    return looks[max(0, len(before) - 1) :]


def _no_better_than_constant(looks: Sequence[Mapping[str, Any]]) -> Verdict | None:
    """No better than one constant answer, now and at this pace by the end of the schedule."""
    last = looks[-1]
    m, errors = last['measures'], last['errors']
    # Looks of earlier versions, and of tokenizers, have not been paired with the constant answer.
    error = NOISE * errors.get('over_constant', errors['loss_held_out'])
    pretraining = last['kind'] == 'pretraining'
    if m['loss_held_out'] < m['loss_constant'] - error:
        return None
    if pretraining and m['over_majority'] > NOISE * errors['over_majority']:
        return None
    recent = _window(looks)
    pace = trend(recent, 'loss_held_out').mean / (last['iter'] - recent[0]['iter'])
    at_end = m['loss_held_out'] + pace * (last['max_iters'] - last['iter'])
    if at_end < m['loss_constant'] - error:
        return None
    found = (
        f'by epoch {last["epoch"]} of {last["max_epochs"]} the loss of held-out photos, '
        f'{m["loss_held_out"]:.3f} ± {error:.3f}, is not below the {m["loss_constant"]:.3f} of the '
        'best constant answer, nor will it be at this pace'
    )
    if pretraining:
        return Verdict(
            STALLED,
            f'{found}; {m["acc_held_out"]:.1%} of masked codes are right, {m["acc_majority"]:.1%} '
            'by always guessing the most frequent one',
            'Give it more steps or a higher learning rate; if one code covers much of the photos, '
            'train the tokenizer with more codes or another teacher.',
        )
    return Verdict(
        STALLED,
        found,
        'Give it more steps or a higher learning rate; if the constant answer is almost right, '
        'take a teacher whose features differ more on these photos.',
    )


def _worse_than_random(looks: Sequence[Mapping[str, Any]]) -> Verdict | None:
    """Every probe says that the features are worse than those of random weights."""
    changes = probe_changes(looks)
    if not changes or not all(found.below() for found in changes.values()):
        return None
    return Verdict(
        STALLED,
        f'by epoch {looks[-1]["epoch"]} frozen features know less of the labels than those of '
        f'random weights{probes(looks)}',
        'What the codes ask for does not help with these labels: train the tokenizer with a '
        'teacher that knows such photos, or give pretraining more photos and steps.',
    )


def _learning(looks: Sequence[Mapping[str, Any]]) -> Verdict:
    first, last = looks[0], looks[-1]
    gain = _of_losses(first, last, 'loss_held_out')
    if not gain.below() or gain.mean > -LEAST_CHANGE * last['measures']['loss_held_out']:
        return Verdict(
            TOO_EARLY,
            f'the loss of held-out photos has not fallen beyond noise since epoch '
            f'{first["epoch"]} ({gain.mean:+.4f} ± {NOISE * gain.error:.4f}), {state(last)}',
            '',
        )
    return Verdict(
        LEARNING,
        f'the loss of held-out photos has fallen by {amount(gain)} since epoch '
        f'{first["epoch"]}, {state(last)}{probes(looks)}',
        _hint(looks),
    )


def _hint(looks: Sequence[Mapping[str, Any]]) -> str:
    """What is worth knowing of a run that is learning."""
    last = looks[-1]
    done = last['iter'] / last['max_iters']
    m, errors = last['measures'], last['errors']
    if last['kind'] != 'pretraining' or done < 0.5:
        return ''
    if m['over_neighbour'] > -NOISE * errors['over_neighbour']:
        return ''
    return (
        f'Copying the nearest visible code is still right more often ({m["acc_neighbour"]:.1%}): '
        'give it more steps.'
    )

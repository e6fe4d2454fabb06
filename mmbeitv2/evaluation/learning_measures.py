"""From what a look has seen of photos to figures with their errors: is it learning?"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmbeitv2.evaluation.feature_rank import centred_rank, effective_rank, varied_share
from mmbeitv2.evaluation.frozen_probe import neighbours_right, ridge_right
from mmbeitv2.evaluation.looks import Seen
from mmbeitv2.models.quantizer import perplexity

RESAMPLES = 100
FEATURES = dict(pretraining=('cls', 'mean'), tokenizer=('mean',))
# Digits of what is kept of every photo: their differences from look to look are far larger.
DIGITS = 5


class Measures(NamedTuple):
    """Figures of one look.

    Attributes:
        values: by name, see ``docs/own_data.md``.
        errors: standard errors, over other photos of the kind, of some of them.
        by_photo: what two looks are compared by, in pairs.
    """

    values: dict[str, float]
    errors: dict[str, float]
    by_photo: dict[str, list[float]]


def mean_and_error(values: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Mean and its standard error; of a single value the error is infinite."""
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        return float(values.mean()), float('inf')
    return float(values.mean()), float(values.std(ddof=1)) / len(values) ** 0.5


def rows_of_codes(codes: np.ndarray, num_codes: int) -> np.ndarray:
    """How often each code occurs in each photo: float64 ``(N, K)`` of int ``(N, patches)``."""
    rows = np.repeat(np.arange(len(codes)), codes.shape[1])
    counts = np.zeros((len(codes), num_codes))
    np.add.at(counts, (rows, codes.ravel()), 1)
    return counts


def perplexity_and_error(codes: np.ndarray, num_codes: int) -> tuple[float, float]:
    """Perplexity of the codes of all photos, and its standard error by the bootstrap over photos.

    Args:
        codes: int ``(N, patches)``, 0 to K − 1.
        num_codes: K.
    """
    counts = rows_of_codes(codes, num_codes)
    found = perplexity(torch.from_numpy(counts.sum(0))).item()
    if len(codes) < 2:
        return found, float('inf')
    draws = np.random.default_rng(0).multinomial(
        len(codes), np.full(len(codes), 1 / len(codes)), RESAMPLES
    )
    others = [perplexity(torch.from_numpy(draw @ counts)).item() for draw in draws]
    return found, float(np.std(others, ddof=1))


def entropy_of_kind(rows: np.ndarray) -> float:
    """Entropy in nats of the codes of all photos of the kind, from those of some.

    Frequencies counted in few photos flatter the answer that they give: 64 photos of 196 patches
    make the entropy of 8,192 codes 0.2 nats too small. The jackknife over photos takes most of that
    away.

    Args:
        rows: of :func:`rows_of_codes`, ``(N, K)``.
    """
    total, photos = rows.sum(0), len(rows)
    if photos < 2:
        return _entropy(total)
    left_out = np.mean([_entropy(total - row) for row in rows])
    found = photos * _entropy(total) - (photos - 1) * float(left_out)
    return min(found, float(np.log(rows.shape[1])))


def pretraining_measures(held_out: Seen, training: Seen, num_codes: int) -> Measures:
    """Figures of the masked codes, on held-out and on training photos.

    Args:
        held_out: what :func:`~mmbeitv2.evaluation.looks.look_at_pretraining` has seen.
        training: the same of as many training photos.
        num_codes: K.
    """
    values, errors = _losses(held_out, training)
    masked = held_out['masked_codes']
    counts = np.bincount(masked.ravel(), minlength=num_codes)
    frequent = (masked == counts.argmax()).mean(1)
    values |= dict(
        acc_held_out=float(held_out['accuracy'].mean()),
        acc_training=float(training['accuracy'].mean()),
        acc_majority=float(frequent.mean()),
        acc_neighbour=float(held_out['copied'].mean()),
        prediction_entropy=float(held_out['entropy'].mean()),
    )
    rows = rows_of_codes(np.concatenate([held_out['codes'], training['codes']]), num_codes)
    values['loss_constant'] = entropy_of_kind(rows)
    # Hard photos are hard for both: in pairs much less is left to chance.
    constant = -np.log((rows.sum(0) / rows.sum())[masked]).mean(1)
    _, errors['over_constant'] = mean_and_error(held_out['loss'] - constant)
    if 'accuracy_cls' in held_out:
        values['acc_cls_held_out'] = float(held_out['accuracy_cls'].mean())
    for name, guess in (('majority', frequent), ('neighbour', held_out['copied'])):
        gain = mean_and_error(held_out['accuracy'] - guess)
        values[f'over_{name}'], errors[f'over_{name}'] = gain
    values['prediction_entropy_share'] = values['prediction_entropy'] / np.log(num_codes)
    # What predictions know of where they are made: 0 if they are the same everywhere.
    mixed = _entropy(held_out['probability'])
    values['prediction_information'] = max(0.0, mixed - values['prediction_entropy'])
    guesses = np.bincount(held_out['guesses'].ravel(), minlength=num_codes)
    values['guess_perplexity'] = float(np.exp(_entropy(guesses)))
    _add_codes(values, errors, held_out['codes'], num_codes)
    entropy = float(held_out['attention'].mean())
    patches = held_out['codes'].shape[1]
    values |= dict(
        attention_entropy=entropy, attention_entropy_share=entropy / max(np.log(patches), 1e-9)
    )
    _add_ranks(values, held_out, FEATURES['pretraining'])
    return Measures(values, errors, _kept(held_out, training))


def tokenizer_measures(
    held_out: Seen, training: Seen, num_codes: int, before: np.ndarray | None
) -> Measures:
    """Figures of codes and reconstruction, on held-out and on training photos.

    Args:
        held_out: what :func:`~mmbeitv2.evaluation.looks.look_at_tokenizer` has seen.
        training: the same of as many training photos.
        num_codes: K.
        before: codes of the held-out photos at the look before, int ``(N, patches)``; or None.
    """
    values, errors = _losses(held_out, training)
    _add_codes(values, errors, held_out['codes'], num_codes)
    # The best constant answer is the mean direction of the targets.
    patches = held_out['codes'].size
    values['loss_constant'] = 1 - float(np.linalg.norm(held_out['target'])) / patches
    if before is not None and before.shape == held_out['codes'].shape:
        changed = (before != held_out['codes']).mean(1)
        values['codes_changed'], errors['codes_changed'] = mean_and_error(changed)
    _add_ranks(values, held_out, FEATURES['tokenizer'])
    return Measures(values, errors, _kept(held_out, training))


def probe_measures(seen: Seen, labels: np.ndarray, names: Sequence[str]) -> Measures:
    """Accuracy of frozen features by 5 nearest neighbours and by a ridge probe.

    Args:
        seen: features ``(N, C)`` by name.
        labels: int64 ``(N,)``, from 0.
        names: of the features.
    """
    classes = torch.from_numpy(np.unique(labels, return_inverse=True)[1]).long()
    values = dict(probe_guess=float(classes.bincount().max()) / len(classes))
    errors, by_photo = {}, {}
    for name in names:
        features = torch.from_numpy(seen[name])
        for kind, probe in (('knn', neighbours_right), ('ridge', ridge_right)):
            right = probe(features, classes).double().numpy()
            key = f'{kind}_{name}'
            values[key], errors[key] = mean_and_error(right)
            by_photo[key] = right.astype(int).tolist()
    return Measures(values, errors, by_photo)


def _losses(held_out: Seen, training: Seen) -> tuple[dict[str, float], dict[str, float]]:
    found = {
        'loss_held_out': mean_and_error(held_out['loss']),
        'loss_training': mean_and_error(training['loss']),
    }
    return {n: v for n, (v, _) in found.items()}, {n: e for n, (_, e) in found.items()}


def _add_codes(
    values: dict[str, float], errors: dict[str, float], codes: np.ndarray, num_codes: int
) -> None:
    values['code_usage'] = len(np.unique(codes)) / num_codes
    found = perplexity_and_error(codes, num_codes)
    values['code_perplexity'], errors['code_perplexity'] = found


def _add_ranks(values: dict[str, float], held_out: Seen, names: Sequence[str]) -> None:
    for name in names:
        features = torch.from_numpy(held_out[name])
        values[f'rank_{name}'] = effective_rank(features)
        values[f'centred_rank_{name}'] = centred_rank(features)
        values[f'varied_{name}'] = varied_share(features)


def _kept(held_out: Seen, training: Seen) -> dict[str, list[float]]:
    return {
        'loss_held_out': _rounded(held_out['loss']),
        'loss_training': _rounded(training['loss']),
    }


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f'{value:.{DIGITS}g}') for value in values]


def _entropy(counts: Any) -> float:
    """Entropy in nats of frequencies."""
    weights: Tensor = torch.as_tensor(np.asarray(counts, dtype=float))
    return float(perplexity(weights).log())

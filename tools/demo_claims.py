"""What the paper claims of its choices, as pairs of demo runs, and how many pairs each takes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.evaluation.paired import deviation_of, pairs_needed

# Figures (0 to 1) of one run, by variant and seed.
Figures = Mapping[tuple[str, int], Mapping[str, float]]


class Variant(NamedTuple):
    """A pretraining and the tokenizer whose codes it predicts: configs of ``configs/demo``."""

    config: str
    tokenizer: str = 'vqkd_demo'


class Claim(NamedTuple):
    """The demo's model as it is does better than a variant of it.

    Args:
        text: what is compared, the paper's choice first.
        measures: keys of ``MEASURES``; the first decides how many pairs are run.
    """

    text: str
    measures: tuple[str, ...]


BASE = 'base'
VARIANTS = {
    BASE: Variant('beitv2_demo'),
    'no-aggregation': Variant('beitv2_demo_no-aggregation'),
    'low-level': Variant('beitv2_demo_low-level', 'vqkd_demo_low-level'),
    'random-mask': Variant('beitv2_demo_random-mask'),
    'separate-head': Variant('beitv2_demo_separate-head'),
    'layer-2': Variant('beitv2_demo_layer-2'),
    'layer-5': Variant('beitv2_demo_layer-5'),
}
# All of frozen features and in closed form: nothing is trained, so there is no noise of training.
MEASURES = {
    'ridge_cls': '[CLS], ridge probe, known objects',
    'five_labels_cls': '[CLS], 5 labels a class, unseen objects, other photos',
    'five_labels_other_things_cls': '[CLS], 5 labels a class, unseen objects, other cut-outs',
    'acc_mim': 'masked codes, last layer',
}
OF_CLS = ('ridge_cls', 'five_labels_cls', 'five_labels_other_things_cls')
# Accuracies of masked codes compare within one tokenizer and one kind of mask alone.
OF_CLS_AND_CODES = (*OF_CLS, 'acc_mim')
# By the variant that the model as it is is compared with.
CLAIMS = {
    'no-aggregation': Claim('patch aggregation against none', OF_CLS_AND_CODES),
    'low-level': Claim('semantic against low-level teacher', OF_CLS),
    'random-mask': Claim('block against random masks', OF_CLS),
    'separate-head': Claim('shared against separate head', OF_CLS_AND_CODES),
    'layer-2': Claim('l = 4 against l = 2', OF_CLS_AND_CODES),
    'layer-5': Claim('l = 4 against l = 5', OF_CLS_AND_CODES),
}
# Two points: less is not worth a choice, for as much lies between two seeds of the same model.
SMALLEST_DIFFERENCE = 0.02
# Pairs whose spread decides how many are run in all.
FIRST = 3


class Pairs(NamedTuple):
    """Values of the model as it is and of a variant, in the order of their common seeds."""

    base: list[float]
    variant: list[float]

    @property
    def differences(self) -> list[float]:
        """Of each pair."""
        return [ours - theirs for ours, theirs in zip(*self)]


def pairs_of(figures: Figures, claim: str, measure: str) -> Pairs:
    """Values of the seeds that both sides of a claim have been run with."""
    seeds = sorted(s for variant, s in figures if variant == claim and (BASE, s) in figures)
    return Pairs(*([figures[name, s][measure] for s in seeds] for name in (BASE, claim)))


def planned_pairs(figures: Figures, claim: str, most: int) -> int:
    """Pairs of a claim that are to be run in all.

    Args:
        figures: of the runs so far.
        claim: key of ``CLAIMS``.
        most: pairs at most, 1 or more.

    Returns:
        ``FIRST`` until the spread of so many is known, then those that give the power to find
        ``SMALLEST_DIFFERENCE``; never more than ``most``.
    """
    first = pairs_of(figures, claim, CLAIMS[claim].measures[0]).differences[:FIRST]
    if len(first) < FIRST or most <= FIRST:
        return min(FIRST, most)
    return max(FIRST, pairs_needed(deviation_of(first), SMALLEST_DIFFERENCE, most))


def remaining(figures: Figures, claims: Sequence[str], most: int) -> list[tuple[str, int]]:
    """Runs that are still to be done, in their order: seed by seed, so that pairs come early.

    Args:
        figures: of the runs so far.
        claims: keys of ``CLAIMS``.
        most: pairs of a claim at most.

    Returns:
        Variant and seed of each; more may follow once the first pairs show their spread.
    """
    planned = {claim: planned_pairs(figures, claim, most) for claim in claims}
    return list(_missing(figures, planned))


def _missing(figures: Figures, planned: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    for seed in range(max(planned.values(), default=0)):
        wanted = [claim for claim, count in planned.items() if seed < count]
        for variant in (BASE, *wanted):
            if (variant, seed) not in figures:
                yield variant, seed

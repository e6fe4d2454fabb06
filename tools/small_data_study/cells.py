"""Which tokenizers and pretrainings the study makes, in the order in which they decide its rule."""

import math
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace

PHOTOS = (200, 1000, 5000, 20_000)
# Of 96 pixels.
PATCHES = 36
# The rule that is tried: so many patches of all photos for each code.
PATCHES_A_CODE = 200
FEWEST_CODES, MOST_CODES = 32, 8192
# K beside the rule's, as its multiples, and those that every set of photos has.
AROUND = (1, 4, 1 / 4)
COMMON = (128, 512)
# Photos whose codes are looked at most closely.
FEW = 1000
# Which codes are revived, by their vectors a step.
REVIVALS = dict(off='none', half='below 0.5', tenth='below a tenth of the mean')
TEACHERS = dict(lite0='Lite0', low='Lite0, stride 8', random='Lite0, random weights')
QUANTIZERS = dict(ema='EMA', fsq='FSQ', simvq='SimVQ')
STAGES = ('tokenizer', 'pretraining', 'untrained')


@dataclass(frozen=True)
class Cell:
    """One tokenizer, the pretraining on its codes, or a backbone that has not been trained.

    Args:
        stage: one of ``STAGES``.
        photos: that are trained on; 0 of an untrained backbone, whose other fields say nothing.
        num_codes: K.
        revival: key of ``REVIVALS``; codes that FSQ and SimVQ do not use are never revived.
        teacher: key of ``TEACHERS``.
        quantizer: key of ``QUANTIZERS``.
        seed: of first weights and of the order of photos.
    """

    stage: str
    photos: int
    num_codes: int
    revival: str = 'half'
    teacher: str = 'lite0'
    quantizer: str = 'ema'
    seed: int = 0

    @property
    def name(self) -> str:
        """For folders and lines."""
        if self.stage == 'untrained':
            return f'untrained seed {self.seed}'
        how = '' if self.quantizer != 'ema' else f' revival-{self.revival}'
        return (
            f'{self.stage} {self.photos} photos {self.num_codes} codes {self.teacher} '
            f'{self.quantizer}{how} seed {self.seed}'
        )

    @property
    def tokenizer(self) -> 'Cell':
        """The tokenizer whose codes a pretraining predicts."""
        return replace(self, stage='tokenizer')

    @property
    def fields(self) -> dict[str, str | int]:
        """Everything, for the record."""
        return asdict(self)


def rule_codes(photos: int, patches: int = PATCHES) -> int:
    """K by the rule: a power of two at or below photos × patches / 200, from 32 to 8192."""
    most = 2 ** int(math.log2(max(photos * patches / PATCHES_A_CODE, 1)))
    return min(MOST_CODES, max(FEWEST_CODES, most))


def codes_around(photos: int) -> list[int]:
    """K at, above and below the rule's."""
    wanted = [int(factor * rule_codes(photos)) for factor in AROUND]
    return [k for k in wanted if FEWEST_CODES <= k <= MOST_CODES]


def all_cells(seeds: int = 1) -> list[Cell]:
    """The whole grid, in the order in which it is worked through; the first seed's before others.

    Args:
        seeds: of every cell.
    """
    first = list(dict.fromkeys(_cells()))
    return [replace(cell, seed=seed) for seed in range(seeds) for cell in first]


def remaining(done: Collection[Cell], cells: Collection[Cell]) -> list[Cell]:
    """Cells that are not done, in their order."""
    return [cell for cell in cells if cell not in done]


def _cells() -> Iterator[Cell]:
    for factor in range(len(AROUND)):
        for n in PHOTOS:
            if factor < len(codes := codes_around(n)):
                yield Cell('tokenizer', n, codes[factor])
    yield Cell('untrained', 0, 0)
    many = max(PHOTOS)
    for revival in ('tenth', 'off'):
        yield from (Cell('tokenizer', many, k, revival) for k in codes_around(many)[:2])
    for n in (FEW, 5000):
        yield from (Cell('tokenizer', n, rule_codes(n), quantizer=q) for q in ('simvq', 'fsq'))
    for k in codes_around(FEW):
        yield Cell('pretraining', FEW, k)
    yield Cell('tokenizer', 5000, max(codes_around(5000)), 'tenth')
    for k in COMMON:
        yield from (Cell('tokenizer', n, k) for n in PHOTOS)
    yield Cell('pretraining', min(PHOTOS), COMMON[0])
    yield from _further()


def _further() -> Iterator[Cell]:
    for n in PHOTOS:
        yield Cell('pretraining', n, rule_codes(n))
    for quantizer in ('fsq', 'simvq'):
        yield Cell('pretraining', FEW, rule_codes(FEW), quantizer=quantizer)
    yield Cell('pretraining', max(PHOTOS), rule_codes(max(PHOTOS)), 'tenth')
    for teacher in ('random', 'low'):
        yield Cell('tokenizer', FEW, rule_codes(FEW), teacher=teacher)
        yield Cell('pretraining', FEW, rule_codes(FEW), teacher=teacher)
    for n in PHOTOS:
        for revival in ('tenth', 'off'):
            for k in codes_around(n)[:2]:
                yield Cell('tokenizer', n, k, revival)

"""Random crops and masks that depend on seed, epoch and image only.

Worker processes that restart every epoch are seeded alike, so randomness drawn from their global
generators repeats. Here each sample carries what its randomness is derived from.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Sequence, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.dataset import Compose, DefaultSampler, InfiniteSampler

from mmbeitv2.errors import InputError
from mmbeitv2.registry import DATA_SAMPLERS, TRANSFORMS

HELD_OUT_SEED = 0

# Where a photo has no data set, as in mmpretrain's tools of photos.
NO_DATASET = (
    " A photo by itself, as mmpretrain's FeatureExtractor takes it, has none: for features of "
    'pretraining use mmbeitv2.apis.load_encoder(CHECKPOINT).from_photo(PATH).'
)


class SampleIndex(int):
    """Index of a sample that also knows the seed and the epoch it is drawn for.

    It is an ordinary ``int`` to data sets, which put it into ``results['sample_idx']`` unchanged.

    Args:
        index: Position in the data set, 0 or more.
        seed: Seed of the run.
        epoch: Epoch, counted from 0.
    """

    seed: int
    epoch: int

    def __new__(cls, index: int, seed: int, epoch: int) -> 'SampleIndex':
        self = super().__new__(cls, index)
        self.seed = seed
        self.epoch = epoch
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (int(self), self.seed, self.epoch)


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """``DefaultSampler`` whose indices carry seed and epoch, for ``SampleSeeded``.

    Order, shuffling and distribution over ranks are those of mmengine's ``DefaultSampler``.
    mmengine's ``DistSamplerSeedHook`` sets the epoch, also after resuming, of training data alone.
    So held-out data, which are not shuffled, are drawn with the same seed and epoch whenever they
    are evaluated: during training, after it, by another process, from a run of another seed.

    Args:
        dataset: Data set.
        shuffle: Whether to shuffle, anew every epoch.
        seed: Seed of order and of samples, the same on all ranks; None to draw one. It is not used
            without shuffling.
        round_up: Whether every rank gets the same number of samples, some of them twice.
    """

    def __init__(
        self,
        dataset: Sized,
        shuffle: bool = True,
        seed: int | None = None,
        round_up: bool = True,
    ) -> None:
        # mmengine passes None or the run's own seed here, whether the config names one or not. From
        # None every sampler draws the next number of a global generator, so that a mask would
        # depend on how many samplers a process has built before.
        super().__init__(dataset, shuffle, seed if shuffle else HELD_OUT_SEED, round_up)
        self._start = (-1, 0)

    def start_at(self, epoch: int, samples: int) -> None:
        """Leave out the first samples of one epoch, which a resumed run has already seen.

        Args:
            epoch: Counted from 0; all others are whole.
            samples: How many, of this rank.
        """
        self._start = (epoch, samples)

    def __iter__(self) -> Iterator[SampleIndex]:
        indices = itertools.islice(super().__iter__(), self._left_out, None)
        return (SampleIndex(index, self.seed, self.epoch) for index in indices)

    def __len__(self) -> int:
        """The number of samples of this rank in this epoch."""
        return super().__len__() - self._left_out

    @property
    def _left_out(self) -> int:
        epoch, samples = self._start
        return samples if self.epoch == epoch else 0


@DATA_SAMPLERS.register_module()
class EndlessSampler(InfiniteSampler):
    """``InfiniteSampler`` whose indices carry seed and pass over the data, for ``SampleSeeded``.

    For runs that count iterations. Order and distribution over ranks are those of mmengine's
    sampler, so that a resumed run, which passes over what it has seen, gets the same samples.

    Args:
        dataset: Data set.
        shuffle: Whether to shuffle, anew in every pass.
        seed: Seed of order and of samples, the same on all ranks; None to draw one.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None) -> None:
        super().__init__(dataset, shuffle, seed)
        self._skipped = 0

    def __iter__(self) -> Iterator[SampleIndex]:
        for number in itertools.count(self._skipped):
            passes = (number * self.world_size + self.rank) // self.size
            yield SampleIndex(next(self.indices), self.seed, passes)
            # Also for a loader that begins anew.
            self._skipped = number + 1

    def skip(self, num_samples: int) -> None:
        """Go on behind the first samples of this rank, as mmengine's loops ask on resuming.

        Args:
            num_samples: Counted from the start, 0 or more.
        """
        self.indices = itertools.islice(self._indices_of_rank(), num_samples, None)
        self._skipped = num_samples


# Takes the place of NumPy's global generator meanwhile: copying that one's state to and fro takes
# longer than drawing a mask.
_numpy_generator = np.random.MT19937()
# Any, since NumPy's types leave these two public functions out.
_numpy: Any = np.random


@contextmanager
def seeded(sample: SampleIndex) -> Iterator[None]:
    """Seed Python, NumPy and torch (CPU) for one sample and restore their states afterwards."""
    # A hash, since sums such as seed + epoch + index give neighbours the same randomness.
    key = f'{sample.seed}/{sample.epoch}/{int(sample)}'.encode()
    digest = hashlib.blake2b(key, digest_size=40).digest()
    states = random.getstate(), _numpy.get_bit_generator(), torch.get_rng_state()
    random.seed(digest[:16])
    _numpy.set_bit_generator(_numpy_generator)
    np.random.seed(np.frombuffer(digest[16:32], dtype='<u4').astype(np.uint32))
    # torch.manual_seed would also seed the GPUs when samples are made in the training process.
    torch.default_generator.manual_seed(int.from_bytes(digest[32:], 'little') >> 1)
    try:
        yield
    finally:
        random.setstate(states[0])
        _numpy.set_bit_generator(states[1])
        torch.set_rng_state(states[2])


@TRANSFORMS.register_module()
class SampleSeeded(BaseTransform):
    """Run transforms with randomness that is a function of (seed, epoch, index).

    The result differs from epoch to epoch and from image to image, and is the same for the same
    seed, epoch and index: with any number of workers, persistent or not, on any rank, and after
    resuming. The global generators of Python, NumPy and torch are left as they were, but for the
    second of a pair of normal deviates that NumPy's may hold back.

    Args:
        transforms: Transforms or their configs, applied in this order; configs are resolved from
            the default scope.

    Raises:
        ValueError: When called without a ``sample_idx``, or with one that does not come from
            ``EpochSampler`` or ``EndlessSampler``.
    """

    def __init__(self, transforms: Sequence[dict[str, Any] | Callable[..., Any]]) -> None:
        self.transforms = Compose(transforms)

    def transform(self, results: dict[str, Any]) -> dict[str, Any] | None:
        """Apply the transforms to ``results``, seeded by ``results['sample_idx']``."""
        sample = results.get('sample_idx')
        if not isinstance(sample, SampleIndex):
            raise InputError(
                f'sample_idx={sample!r} is a {type(sample).__name__} without seed and epoch, which '
                "SampleSeeded needs. Set sampler=dict(type='mmbeitv2.EpochSampler') in the "
                "dataloader ('mmbeitv2.EndlessSampler' in a run that counts iterations), and use "
                'the dataset without wrappers that compute new indices '
                '(ConcatDataset, RepeatDataset).' + ('' if 'sample_idx' in results else NO_DATASET)
            )
        with seeded(sample):
            return self.transforms(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(transforms={self.transforms})'

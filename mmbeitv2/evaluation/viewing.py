"""Take a look: the photos of a run, shared by its processes, through the model that is trained."""

from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, get_world_size
from mmengine.model import is_model_wrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor, nn

from mmbeitv2.errors import InputError, UnreadableFileError
from mmbeitv2.evaluation.looked_photos import (
    Batch,
    Photos,
    dataset_photos,
    digest_of,
    held_out_photos,
    labelled_photos,
    plain_pipeline,
    read,
)
from mmbeitv2.evaluation.looks import SUMS, Look, Seen, joined, look_for
from mmbeitv2.evaluation.undisturbed import undisturbed
from mmbeitv2.models.quantizer import NormEMAQuantizer
from mmbeitv2.torch_releases import layers_as_written

# What is computed of each group of photos.
WANTED = dict(held_out='both', training='task', labelled='features')

Value = TypeVar('Value')


class Viewing:
    """Looks at held-out photos, as many training photos and, if given, labelled ones.

    Args:
        look: of the kind of model.
        groups: photos by what they are for.
        batch_size: photos a step.

    Attributes:
        batches: this process's share of each group, once it is read.
    """

    def __init__(self, look: Look, groups: dict[str, Photos], batch_size: int) -> None:
        self.look = look
        self.groups = groups
        self.batch_size = batch_size
        self.batches: dict[str, list[Batch]] = {}
        self._digests: dict[str, dict[int, str]] = {}
        self._unread: dict[str, dict[int, str]] = {}

    def see(self, runner: Runner) -> dict[str, Seen]:
        """What all processes see of each group, in the order of the photos; all must call."""
        model = plain_model(runner)
        found: dict[str, list[Seen]] = {}
        # The precision of the run's own steps.
        precision = runner.optim_wrapper.optim_context(runner.model)
        with undisturbed(model), layers_as_written(), torch.no_grad(), precision:
            for name, batches in self.batches.items():
                found[name] = [self._seen(model, batch, WANTED[name]) for batch in batches]
        parts = all_gather_object(found)
        return {
            name: _in_order(joined([seen for part in parts for seen in part[name]]))
            for name in self.groups
        }

    def photos_of(self, seen: dict[str, Seen]) -> dict[str, Any]:
        """How many photos of each group a look has seen, and a digest of which: ``digest``.

        Photos that could be read before a run was resumed may not be readable now, or be others.
        """
        found = {n: [self._digests[n][p] for p in seen[n]['position']] for n in self.groups}
        digest = digest_of(one.encode() for group in found.values() for one in group)
        return dict({name: len(group) for name, group in found.items()}, digest=digest)

    def read(self, runner: Runner) -> None:
        """Read this process's share of the photos, before any look; all must call."""
        pipeline = plain_pipeline(runner)
        for name, photos in self.groups.items():
            mine = range(get_rank(), len(photos), get_world_size())
            with undisturbed(plain_model(runner)):
                batches, self._unread[name] = read(photos, pipeline, mine, self.batch_size)
            self.batches[name] = batches
            digests = {p: d for batch in batches for p, d in zip(batch.positions, batch.digests)}
            shares: list[dict[int, str]] = all_gather_object(digests)
            self._digests[name] = {p: d for share in shares for p, d in share.items()}

    def forget(self) -> None:
        """Compute anew, at the next look, what does not change from look to look."""
        for batches in self.batches.values():
            for batch in batches:
                batch.known.clear()

    def empty(self) -> list[str]:
        """Names of the groups of which no process could read a photo."""
        return [name for name in self.groups if not self._digests[name]]

    def check_read(self, runner: Runner) -> None:
        """Warn of photos that could not be read.

        Raises:
            OSError: none of a group can be read.
        """
        for name, unread in self._unread.items():
            if unread:
                runner.logger.warning(
                    f'{len(unread)} photos of the looks cannot be read and are left out, such as '
                    f'{self._first(name)}: `mmbeitv2 check-images` lists them.'
                )
        for name in self.empty():
            raise UnreadableFileError(
                f'none of the {len(self.groups[name])} {name.replace("_", "-")} photos of '
                f'LearningHook can be read, such as {self._first(name)}: restore them or give '
                'others.'
            )

    def _first(self, name: str) -> str:
        """The first photo of a group that this process could not read, and why."""
        number, reason = next(iter(self._unread[name].items()), (0, 'as another process says'))
        return f'{self.groups[name].name(number)!r} ({reason})'

    def _seen(self, model: nn.Module, batch: Batch, wanted: str) -> Seen:
        data = model.get_submodule('data_preprocessor')(batch.data, False)
        seen = self.look(data, batch.known, wanted)
        arrays = {name: _array(value) for name, value in seen.items()}
        return dict(arrays, position=np.array(batch.positions))


def choose_photos(
    runner: Runner, photos: str | None, labels: str | None, most: int, most_labelled: int
) -> dict[str, Photos]:
    """Photos of the looks by what they are for, the same ones every time.

    Args:
        runner: of the run.
        photos: held-out ones, see :func:`held_out_photos`.
        labels: see :func:`labelled_photos`; None for none.
        most: held-out photos, and training photos.
        most_labelled: labelled photos.
    """
    held_out = held_out_photos(photos, runner, most)
    training = dataset_photos(runner.train_dataloader.dataset, len(held_out))
    groups = dict(held_out=held_out, training=training)
    if labels is not None:
        groups['labelled'] = labelled_photos(labels, most_labelled)
    both = _places(held_out) & _places(training)
    if both:
        runner.logger.warning(
            f'{len(both)} of the {len(held_out)} held-out photos are trained on, such as '
            f'{min(both)!r}: memorising cannot be told from learning. Give others, as '
            'val_dataloader or photos of LearningHook.'
        )
    return groups


def look_of(runner: Runner) -> tuple[str, Look]:
    """The kind of a run, and how to look at it.

    Raises:
        ValueError: of another kind, or one that cannot be looked at.
    """
    found = look_for(plain_model(runner))
    if found is None:
        raise InputError(
            f'LearningHook knows VQKD and BEiTV2, but the model is a '
            f'{type(plain_model(runner)).__name__}: take it out of the hooks.'
        )
    if not isinstance(runner.train_loop, EpochBasedTrainLoop):
        raise InputError(
            'LearningHook counts epochs, but this run counts iterations: set '
            'train_cfg.by_epoch=True and max_epochs, or take it out of the hooks.'
        )
    if any(hasattr(parameter, 'full_tensor') for parameter in runner.model.parameters()):
        raise InputError(
            'LearningHook cannot look at weights that are spread over processes: take it out of '
            'the hooks, or train without ShardedStrategy.'
        )
    return found


def plain_model(runner: Runner) -> nn.Module:
    """The model without what spreads it over processes."""
    model: nn.Module = runner.model
    return model.get_submodule('module') if is_model_wrapper(model) else model


def _places(photos: Photos) -> set[str]:
    """Paths, those with another spelling of one alike."""
    return {str(Path(info['img_path'])) for info in photos.infos if 'img_path' in info}


def start_of(runner: Runner) -> str:
    """Whether the run has begun from weights that somebody had trained."""
    model: Any = plain_model(runner)
    init = getattr(getattr(model, 'backbone', model), 'init_cfg', None) or {}
    return 'loaded' if runner._load_from or init.get('checkpoint') else 'random'


def quantizer_of(runner: Runner) -> NormEMAQuantizer:
    """The codebook of a tokenizer that is trained, or whose codes are predicted."""
    model: Any = plain_model(runner)
    quantizer: NormEMAQuantizer = getattr(model, 'target_generator', model).quantize
    return quantizer


def from_first_rank(value: Value) -> Value:
    """What the first process has; all must call."""
    values = [value]
    broadcast_object_list(values)
    return values[0]


def wait_for_device() -> None:
    """Let queued work end, whose time is not that of what follows."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _in_order(seen: Seen) -> Seen:
    order = np.argsort(seen['position'])
    return {name: value if name in SUMS else value[order] for name, value in seen.items()}


def _array(value: Tensor) -> np.ndarray:
    return (value.float() if value.is_floating_point() else value).cpu().numpy()

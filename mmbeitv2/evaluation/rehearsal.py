"""How long looks and steps of a run take: tried on a few photos, before the first look."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from mmengine.dist import get_world_size
from mmengine.runner import Runner

from mmbeitv2.evaluation.learning_cost import Cost, Times, photos_that_fit
from mmbeitv2.evaluation.looked_photos import Batch, Photos
from mmbeitv2.evaluation.looks import Look, Seen, first_broken
from mmbeitv2.evaluation.measuring import measures_of
from mmbeitv2.evaluation.undisturbed import undisturbed
from mmbeitv2.evaluation.verdict import LEAST_LOOKS, LEAST_PHOTOS
from mmbeitv2.evaluation.viewing import Viewing, from_first_rank, plain_model, wait_for_device
from mmbeitv2.torch_releases import layers_as_written

# Held-out photos of a rehearsal on a CPU.
FEW = 16

Result = TypeVar('Result')


def affordable(
    runner: Runner,
    look: Look,
    kind: str,
    groups: dict[str, Photos],
    cost: Cost,
    most: float,
    batch_size: int,
) -> int:
    """How many held-out photos to look at, so that looks cost a share of the run; all must call.

    Args:
        runner: of the run, before its first step; its log is told of fewer photos, or more cost.
        look: of the kind of model.
        kind: ``'pretraining'`` or ``'tokenizer'``.
        groups: all photos, by what they are for.
        cost: so far; it counts.
        most: share of the run's time, in (0, 1]; 1 for all photos.
        batch_size: photos a step of a look.

    Returns:
        1 or more.
    """
    photos = len(groups['held_out'])
    if most == 1:
        return photos
    # A GPU takes as long for a few as for a whole batch.
    few = min(photos, batch_size if torch.cuda.is_available() else FEW)
    viewing = Viewing(look, share_of(groups, few), batch_size)
    times = rehearse(runner, viewing, lambda seen: measures_of(runner, kind, viewing, seen, None))
    if times is None:
        return photos
    # As many as a verdict of a standstill takes, where there are so many.
    looks = 1 + min(runner.max_epochs, LEAST_LOOKS)
    found = photos_that_fit(times, cost.so_far, looks, LEAST_PHOTOS, photos, most)
    fit = from_first_rank(found)
    if fit.photos < photos:
        runner.logger.info(
            f'learning: looks are at {fit.photos} of {photos} held-out photos, to cost no more '
            f'than {most:.0%} of the run (max_cost)'
        )
    if fit.share > most:
        runner.logger.warning(
            f'learning: looks will take about {fit.share:.0%} of this run, above '
            f'max_cost={most:.0%}, since fewer than {LEAST_PHOTOS} photos give no verdict: train '
            'longer, or do without (default_hooks.learning=None)'
        )
    return fit.photos


def share_of(groups: dict[str, Photos], held_out: int) -> dict[str, Photos]:
    """So many held-out photos, as many training photos, and as large a share of the labelled ones.

    Args:
        groups: photos of the looks.
        held_out: 1 or more, of those that there are.
    """
    share = held_out / len(groups['held_out'])
    counts = dict(held_out=held_out, training=held_out)
    return {
        name: photos.some(counts.get(name, round(share * len(photos))))
        for name, photos in groups.items()
    }


def rehearse(
    runner: Runner, viewing: Viewing, measure: Callable[[dict[str, Seen]], Any]
) -> Times | None:
    """Measure what a look and a training step take; all processes must call.

    A step is run forwards and backwards as training does, but nothing is updated: the augmentation
    of its photos and the optimiser are left out, so that training takes rather longer.

    Args:
        runner: of the run, before its first step.
        viewing: of a few photos, which are read here.
        measure: what a look computes of what it has seen.

    Returns:
        Times by this process; None where the photos cannot be read, or what is seen is broken.
    """
    reading, _ = _timed(lambda: viewing.read(runner))
    if viewing.empty():
        return None
    # Kernels are chosen, and memory is allocated.
    if first_broken(viewing.see(runner)):
        return None
    viewing.forget()
    first, _ = _timed(lambda: viewing.see(runner))
    later, seen = _timed(lambda: viewing.see(runner))
    measuring, _ = _timed(lambda: measure(seen))
    batches = viewing.batches['training']
    batch = _photos_a_step(runner)
    # Of few photos some processes may have none; the first one's times count.
    a_photo = _seconds_of_training(runner, batches[0], batch) if batches else 0.0
    photos = len(viewing.groups['held_out'])
    return Times(
        photo=(later + measuring) / photos,
        once=(reading + max(0.0, first - later)) / photos,
        training=a_photo * batch * (runner.max_iters - runner.iter),
    )


def _photos_a_step(runner: Runner) -> int:
    """Of this process; a batch sampler of another project need not say it."""
    loader = runner.train_dataloader
    photos = len(loader.dataset) // (len(loader) * get_world_size())
    return getattr(loader.batch_sampler, 'batch_size', None) or max(1, photos)


def _seconds_of_training(runner: Runner, batch: Batch, most: int) -> float:
    """Of a photo in a step, forwards and backwards, in the precision of the run."""
    # Any, since every model has its own preprocessor and losses.
    model: Any = plain_model(runner)
    few = {name: values[:most] for name, values in batch.data.items()}
    weights = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def step() -> None:
        with runner.optim_wrapper.optim_context(runner.model):
            data = model.data_preprocessor(few, False)
            loss, _ = model.parse_losses(model(**data, mode='loss'))
        # Not backward(), which would leave gradients, and which hooks of several processes watch.
        torch.autograd.grad(loss, weights, allow_unused=True)

    # In eval mode a codebook does not move.
    with undisturbed(model), layers_as_written():
        step()
        return _timed(step)[0] / len(few['inputs'])


def _timed(function: Callable[[], Result]) -> tuple[float, Result]:
    wait_for_device()
    start = time.perf_counter()
    result = function()
    wait_for_device()
    return time.perf_counter() - start, result

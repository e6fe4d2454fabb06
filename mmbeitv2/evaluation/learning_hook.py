"""Is it learning? A look at held-out photos every few epochs, and what it says in words."""

from typing import Any

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.learning_cost import Cost, next_interval
from mmbeitv2.evaluation.learning_measures import (
    FEATURES,
    Measures,
    pretraining_measures,
    probe_measures,
    tokenizer_measures,
)
from mmbeitv2.evaluation.learning_record import (
    FORMAT,
    Record,
    append_record,
    keep_until,
    write_records,
)
from mmbeitv2.evaluation.looked_photos import LEAST_CLASSES
from mmbeitv2.evaluation.looks import Seen, first_broken
from mmbeitv2.evaluation.verdict import LEARNING, TOO_EARLY, Verdict, verdict
from mmbeitv2.evaluation.viewing import Viewing, choose_photos, look_of, plain_model
from mmbeitv2.models.quantizer import NormEMAQuantizer, perplexity
from mmbeitv2.registry import HOOKS

# Of a checkpoint: codes at the last look.
CODES = 'learning_codes'
# What is said by the way; all else is a warning.
QUIET = (LEARNING, TOO_EARLY)


@HOOKS.register_module()
class LearningHook(Hook):
    """Say in words whether a tokenizer's training or a pretraining is learning, and why.

    Before the first step, after the first epoch, every ``interval`` epochs and after the last one,
    the same held-out photos and as many training photos are looked at, without augmentation. Each
    look is one record of ``learning.jsonl`` in the run's folder, see
    :func:`~mmbeitv2.evaluation.learning_record.read_learning`; its figures go to the visualizer
    (TensorBoard and the JSON log) as ``learning/…``, and its verdict to the log:
    see :func:`~mmbeitv2.evaluation.verdict.verdict`. Training stays as it is, bit for bit; several
    processes share the photos. ``mmbeitv2.LearningPageHook`` makes a page of it.

    Args:
        interval: epochs from look to look, 1 or more. It grows where looks would cost more than
            ``max_cost`` of the run; the log says so.
        photos: folder or list file of held-out photos; those of ``val_dataloader`` unless given.
        labels: folder with a folder of photos for each class, or CSV file with lines
            ``PHOTO,LABEL``, for a nearest-neighbour and a ridge probe; None for none.
        max_photos: of held-out photos, and of training photos.
        max_labelled: of labelled photos.
        max_cost: share of the run's time that looks may take, in (0, 1].
        batch_size: photos a step of a look.

    Raises:
        ValueError: an argument out of range; a run without held-out photos, that counts iterations
            instead of epochs, or whose weights are spread over processes.
    """

    # Behind the hooks that set a codebook and choose kernels, before a checkpoint is saved.
    priority = 'LOW'

    def __init__(
        self,
        interval: int = 1,
        photos: str | None = None,
        labels: str | None = None,
        max_photos: int = 256,
        max_labelled: int = 512,
        max_cost: float = 0.05,
        batch_size: int = 64,
    ) -> None:
        counts = dict(interval=interval, max_photos=max_photos, batch_size=batch_size)
        for name, value in dict(counts, max_labelled=max_labelled).items():
            if not isinstance(value, int) or value < 1:
                raise InputError(f'{name} of LearningHook is {value!r}, allowed: 1 or more.')
        if not 0 < max_cost <= 1:
            raise InputError(
                f'max_cost of LearningHook is {max_cost!r}, allowed: a share above 0, up to 1.'
            )
        self.interval = self._every = interval
        self.photos = photos
        self.labels = labels
        self.max_photos = max_photos
        self.max_labelled = max_labelled
        self.max_cost = max_cost
        self.batch_size = batch_size
        self._viewing: Viewing | None = None
        self._codes: np.ndarray | None = None
        self._history: list[Record] = []
        self._unwritten = False
        self._cost = Cost()

    def before_train(self, runner: Runner) -> None:
        """Choose the photos, drop looks at steps to come, and look at the weights of the start."""
        self._kind, look = look_of(runner)
        self._cost.start()
        with self._cost.of_a_look():
            limits = self.max_photos, self.max_labelled
            groups = choose_photos(runner, self.photos, self.labels, *limits)
            self._viewing = Viewing(look, groups, self.batch_size)
            self._viewing.read(runner)
        if get_rank() == 0:
            self._history = keep_until(runner.work_dir, runner.iter if runner.iter else -1)
        if self._history:
            self._cost.go_on_from(self._history[-1]['cost'])
            self._every = self._history[-1]['interval']
        self._every = _from_first_rank(self._every)
        if runner.iter == 0:
            self._take_a_look(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        """Look, if it is time."""
        epoch = runner.epoch + 1
        if epoch in (1, runner.max_epochs) or epoch % self._every == 0:
            self._take_a_look(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Keep the codes that the next look is compared with."""
        if self._codes is not None:
            checkpoint[CODES] = torch.from_numpy(self._codes)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Remember them."""
        codes = checkpoint.pop(CODES, None)
        self._codes = None if codes is None else codes.numpy()

    def _take_a_look(self, runner: Runner) -> None:
        assert self._viewing is not None, 'photos are chosen before training'
        _wait_for_device()
        with self._cost.of_a_look():
            seen = self._viewing.see(runner)
            if broken := first_broken(seen):
                # What is not finite ends the run elsewhere, by name, and not here.
                runner.logger.warning(f'learning: no look at epoch {_epoch(runner)}: {broken}')
                return
            if get_rank() == 0:
                photos = self._viewing.photos_of(seen)
                measures = self._measures(runner, seen, photos)
        if self._kind == 'tokenizer':
            self._codes = seen['held_out']['codes'].astype(np.int32)
        if get_rank() == 0:
            record = self._record(runner, measures, photos, seen['held_out']['codes'].size)
            self._say(runner, self._add(runner, record))
        self._every = _from_first_rank(self._every)

    def _measures(self, runner: Runner, seen: dict[str, Seen], photos: dict[str, Any]) -> Measures:
        assert self._viewing is not None
        quantizer = _quantizer(runner)
        groups = seen['held_out'], seen['training'], quantizer.num_codes
        if self._kind == 'pretraining':
            found = pretraining_measures(*groups)
        else:
            same = self._history and self._history[-1]['photos'] == photos
            found = tokenizer_measures(*groups, self._codes if same else None)
            if runner.iter:
                counts = quantizer.code_counts
                found.values['usage_epoch'] = (counts > 0).float().mean().item()
                found.values['perplexity_epoch'] = perplexity(counts).item()
        labels = self._viewing.groups['labelled'].labels if 'labelled' in seen else None
        if labels is not None:
            # Photos that cannot be read have no features.
            labels = labels[seen['labelled']['position']]
        if labels is not None and len(np.unique(labels)) >= LEAST_CLASSES:
            probes = probe_measures(seen['labelled'], labels, FEATURES[self._kind])
            found.values.update(probes.values)
            found.errors.update(probes.errors)
            found.by_photo.update(probes.by_photo)
        return found

    def _record(
        self, runner: Runner, measures: Measures, photos: dict[str, Any], patches: int
    ) -> Record:
        return dict(
            format=FORMAT,
            kind=self._kind,
            iter=runner.iter,
            epoch=_epoch(runner),
            max_iters=runner.max_iters,
            max_epochs=runner.max_epochs,
            start=_start_of(runner),
            photos=photos,
            codes=_quantizer(runner).num_codes,
            revive_below=_quantizer(runner).revive_below,
            patches=patches,
            measures=measures.values,
            errors=measures.errors,
            by_photo=measures.by_photo,
        )

    def _add(self, runner: Runner, record: Record) -> Record:
        """The record of this look, judged and written."""
        record['verdict'] = verdict([*self._history, record])._asdict()
        if 0 < record['epoch'] < runner.max_epochs:
            self._space(runner, record['epoch'])
        record['interval'] = self._every
        record['cost'] = self._cost.record()
        self._history.append(record)
        self._write(runner)
        scalars = {f'learning/{name}': value for name, value in record['measures'].items()}
        scalars['learning/cost'] = self._cost.share
        runner.visualizer.add_scalars(scalars, step=runner.iter)
        return record

    def _write(self, runner: Runner) -> None:
        """Add the last look to the file, or all of them after one that could not be written."""
        try:
            if self._unwritten:
                write_records(runner.work_dir, self._history)
            else:
                append_record(runner.work_dir, self._history[-1])
            self._unwritten = False
        except OSError as error:
            if not self._unwritten:
                runner.logger.warning(
                    f'learning: {error}. Training goes on; looks are written once they can be'
                )
            self._unwritten = True

    def _space(self, runner: Runner, epoch: int) -> None:
        """Make looks rarer, or as often as was asked, so that all cost what they may."""
        every = next_interval(self._cost, epoch, runner.max_epochs, self.interval, self.max_cost)
        if every != self._every:
            runner.logger.info(
                f'learning: a look takes {self._cost.last:.1f} s, so that there is one every '
                f'{every} epochs (interval={self.interval}) to cost no more than '
                f'{self.max_cost:.0%} of the run; fewer photos (max_photos) would allow more'
            )
            self._every = every

    def _say(self, runner: Runner, record: Record) -> None:
        said = Verdict(**record['verdict'])
        advice = f' {said.advice}' if said.advice else ''
        line = (
            f'learning: {said.word}: {said.reason}.{advice} '
            f'(looks have cost {self._cost.share:.1%} of the time)'
        )
        (runner.logger.info if said.word in QUIET else runner.logger.warning)(line)


def _epoch(runner: Runner) -> int:
    """Epochs that have been trained, where a look is taken."""
    return runner.epoch + 1 if runner.iter else 0


def _start_of(runner: Runner) -> str:
    """Whether the run has begun from weights that somebody had trained."""
    model: Any = plain_model(runner)
    init = getattr(getattr(model, 'backbone', model), 'init_cfg', None) or {}
    return 'loaded' if runner._load_from or init.get('checkpoint') else 'random'


def _wait_for_device() -> None:
    """Let queued steps end, whose time is not the look's."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _quantizer(runner: Runner) -> NormEMAQuantizer:
    model: Any = plain_model(runner)
    quantizer: NormEMAQuantizer = getattr(model, 'target_generator', model).quantize
    return quantizer


def _from_first_rank(value: int) -> int:
    values = [value]
    broadcast_object_list(values)
    return int(values[0])

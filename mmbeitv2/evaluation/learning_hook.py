"""Is it learning? A look at held-out photos every few epochs, and what it says in words."""

from typing import Any

import numpy as np
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.learning_cost import Cost, next_interval
from mmbeitv2.evaluation.learning_measures import Measures
from mmbeitv2.evaluation.learning_record import (
    FORMAT,
    LearningFile,
    Record,
    keep_until,
)
from mmbeitv2.evaluation.looks import first_broken
from mmbeitv2.evaluation.measuring import measures_of
from mmbeitv2.evaluation.rehearsal import affordable, share_of
from mmbeitv2.evaluation.verdict import (
    LEARNING,
    TOO_EARLY,
    Verdict,
    verdict,
)
from mmbeitv2.evaluation.viewing import (
    Viewing,
    choose_photos,
    from_first_rank,
    look_of,
    quantizer_of,
    start_of,
    wait_for_device,
)
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
        photos: held-out photos: a folder, a list file, a tar, a table or an LMDB file; those of
            ``val_dataloader`` unless given.
        labels: folder with a folder of photos for each class, CSV file with lines ``PHOTO,LABEL``,
            or a tar or a table that has labels, for a nearest-neighbour and a ridge probe; None for
            none.
        max_photos: of held-out photos, and of training photos. Fewer are looked at where so many
            would cost more than ``max_cost``: how many is tried, and settled for the whole run,
            before the first look; the log says so.
        max_labelled: of labelled photos; fewer likewise.
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
        self._file = LearningFile()
        self._chosen: int | None = None
        self._cost = Cost()

    def before_train(self, runner: Runner) -> None:
        """Choose the photos, drop looks at steps to come, and look at the weights of the start."""
        self._kind, look = look_of(runner)
        self._cost.start()
        if get_rank() == 0:
            self._history = keep_until(runner.work_dir, runner.iter if runner.iter else -1)
        if self._history:
            last = self._history[-1]
            self._cost.go_on_from(last['cost'])
            self._every, self._chosen = last['interval'], last.get('chosen')
        self._every, self._chosen = from_first_rank((self._every, self._chosen))
        with self._cost.of_a_look():
            limits = self.max_photos, self.max_labelled
            groups = choose_photos(runner, self.photos, self.labels, *limits)
            if self._chosen is None:
                wanted = self.max_cost, self.batch_size
                self._chosen = affordable(runner, look, self._kind, groups, self._cost, *wanted)
            self._chosen = min(self._chosen, len(groups['held_out']))
            groups = share_of(groups, self._chosen)
            self._viewing = Viewing(look, groups, self.batch_size)
            self._viewing.read(runner)
        self._viewing.check_read(runner)
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
        wait_for_device()
        with self._cost.of_a_look():
            seen = self._viewing.see(runner)
            if broken := first_broken(seen):
                # What is not finite ends the run elsewhere, by name, and not here.
                runner.logger.warning(f'learning: no look at epoch {_epoch(runner)}: {broken}')
                return
            if get_rank() == 0:
                photos = self._viewing.photos_of(seen)
                same = self._history and self._history[-1]['photos'] == photos
                before = self._codes if same else None
                measures = measures_of(runner, self._kind, self._viewing, seen, before)
        if self._kind == 'tokenizer':
            self._codes = seen['held_out']['codes'].astype(np.int32)
        if get_rank() == 0:
            record = self._record(runner, measures, photos, seen['held_out']['codes'].size)
            self._say(runner, self._add(runner, record))
        self._every = from_first_rank(self._every)

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
            start=start_of(runner),
            photos=photos,
            chosen=self._chosen,
            codes=quantizer_of(runner).num_codes,
            revive_below=quantizer_of(runner).revive_below,
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
        self._file.write(runner, self._history)
        scalars = {f'learning/{name}': value for name, value in record['measures'].items()}
        scalars['learning/cost'] = self._cost.share
        runner.visualizer.add_scalars(scalars, step=runner.iter)
        return record

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

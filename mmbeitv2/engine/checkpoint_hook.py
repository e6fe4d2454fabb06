"""Training checkpoints: when they are saved, and that none is lost while the next is written."""

import re
from collections.abc import Callable
from pathlib import Path
from time import monotonic
from typing import Any

import torch
from mmengine.dist import broadcast, broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook as MMEngineCheckpointHook
from mmengine.runner import Runner

from mmbeitv2.checkpoints.atomic import ATOMIC_BACKEND, AtomicBackend, remove_partial_files
from mmbeitv2.checkpoints.run_folder import POINTER, newest_whole, point_to
from mmbeitv2.engine.disk_space import check_space
from mmbeitv2.engine.exact_resume_hook import average_unfinished
from mmbeitv2.errors import InputError, UserError
from mmbeitv2.registry import HOOKS

# Ranks must agree on what is due, which costs a message: not at every iteration.
ITERATIONS_BETWEEN_LOOKS = 100
# Of the message hub: the checkpoint of a run that was stopped between two regular ones.
STOPPED_AT = 'stopped_ckpt'


@HOOKS.register_module()
class CheckpointHook(MMEngineCheckpointHook):
    """mmengine's ``CheckpointHook`` that saves by the clock and never without a file to go back to.

    The same interval in epochs is minutes on many GPUs and days on one. Here a checkpoint is saved
    at the end of the first epoch (or a hundred iterations, for a run that counts those) that ends
    ``minutes`` or more after the last one: what a crash can cost is that time and an epoch. The
    last epoch is always saved.

    Files in local folders are written beside their place, flushed and renamed; ``last_checkpoint``
    follows; what the new file replaces is removed last, also with ``max_keep_ckpts=1`` and for
    ``save_best``. A run that resumes without naming a file takes the newest whole one of its
    folder. Before training the space for one checkpoint is looked for.

    Args:
        minutes: between two checkpoints, 0 or more; None to save by ``interval`` alone.
        **kwargs: of mmengine's ``CheckpointHook``. ``interval`` saves, besides, every so many
            epochs or iterations; by default none.

    Raises:
        ValueError: a negative number of minutes.
        OSError: no space for a checkpoint; none of the folder's can be resumed.
    """

    def __init__(self, minutes: float | None = 30, **kwargs: Any) -> None:
        if _is_local(kwargs.get('out_dir')) and not kwargs.get('file_client_args'):
            kwargs['backend_args'] = kwargs.get('backend_args') or dict(backend=ATOMIC_BACKEND)
        super().__init__(**kwargs)
        if minutes is not None and minutes < 0:
            raise InputError(f'minutes is {minutes}, allowed: 0 or more, None for no such limit.')
        self.minutes = minutes
        self._saved_at = monotonic()

    def before_run(self, runner: Runner) -> None:
        """Let ``last_checkpoint``, which mmengine follows, name the newest whole file."""
        # Of both kinds of runner; neither tells it otherwise.
        if getattr(runner, '_resume', False) is True and not getattr(runner, '_load_from', None):
            _on_first_rank(lambda: self._settle_pointer(runner))

    def before_train(self, runner: Runner) -> None:
        """Look for space; start the clock, which building the data sets may have kept waiting."""
        super().before_train(runner)
        # Not the folder of another place where this run was once: that is another run's.
        if best := getattr(self, 'best_ckpt_path', None):
            self.best_ckpt_path = self._moved_here(best)
        for name, path in getattr(self, 'best_ckpt_path_dict', {}).items():
            self.best_ckpt_path_dict[name] = self._moved_here(path)
        if isinstance(self.file_backend, AtomicBackend):
            _on_first_rank(lambda: self._prepare_folder(runner))
        self._saved_at = monotonic()

    def every_n_epochs(self, runner: Runner, n: int, start: int = 0) -> bool:
        """Whether the epoch that ends is one of every ``n``, or a checkpoint is due by the clock.

        It is what mmengine's hook asks before it saves; so is :meth:`every_n_train_iters`.
        """
        regular = super().every_n_epochs(runner, n, start)
        return self._due(regular) if runner.epoch + 1 >= start else regular

    def every_n_train_iters(self, runner: Runner, n: int, start: int = 0) -> bool:
        """As :meth:`every_n_epochs`, for iterations."""
        regular = super().every_n_train_iters(runner, n, start)
        looks = super().every_n_train_iters(runner, ITERATIONS_BETWEEN_LOOKS)
        return self._due(regular) if looks and runner.iter + 1 >= start else regular

    def save_iteration(self, runner: Runner) -> str:
        """Save after an iteration that is not one of the interval's; all ranks must call.

        In a run that counts epochs the next regular checkpoint takes this one's place.

        Returns:
            The path of the file.
        """
        step = runner.iter + 1
        meta = dict(epoch=runner.epoch, iter=step)
        if not self.by_epoch:
            self._save_checkpoint_with_step(runner, step, meta)
        else:
            name = f'iter_{step}.pth'
            outdated = runner.message_hub.runtime_info.get(STOPPED_AT)
            runner.message_hub.update_info(STOPPED_AT, name)
            self._save_and_point(runner, name, meta, by_epoch=False)
            self._remove([outdated] if outdated not in (None, name) else [])
        return str(self.last_ckpt)

    def _due(self, regular: bool) -> bool:
        if self.minutes is not None and not regular:
            # The first rank's clock decides: sharded weights are saved by all ranks together.
            elapsed = torch.tensor([monotonic() - self._saved_at], dtype=torch.float64)
            broadcast(elapsed)
            regular = elapsed.item() >= 60 * self.minutes
        if regular:
            self._saved_at = monotonic()
        return regular

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict[str, Any]) -> None:
        """mmengine's, which removes the older file before it has written the new one."""
        outdated = []
        if self.max_keep_ckpts > 0:
            kept = [number for number in self.keep_ckpt_ids if number != step]
            kept.append(step)
            outdated = [self.filename_tmpl.format(n) for n in kept[: -self.max_keep_ckpts]]
            self.keep_ckpt_ids.clear()
            self.keep_ckpt_ids.extend(kept[-self.max_keep_ckpts :])
            runner.message_hub.update_info('keep_ckpt_ids', list(self.keep_ckpt_ids))
        stopped = runner.message_hub.runtime_info.get(STOPPED_AT)
        if stopped is not None:
            runner.message_hub.update_info(STOPPED_AT, None)
            outdated.append(stopped)
        name = self.filename_tmpl.format(step)
        self._save_and_point(runner, name, meta, self.by_epoch)
        self._remove([other for other in outdated if other != name])

    def _save_best_checkpoint(self, runner: Runner, metrics: dict[str, Any]) -> None:
        if isinstance(self.file_backend, AtomicBackend):
            with self.file_backend.removals_last():
                super()._save_best_checkpoint(runner, metrics)
        else:
            super()._save_best_checkpoint(runner, metrics)

    def _save_and_point(
        self, runner: Runner, name: str, meta: dict[str, Any], by_epoch: bool
    ) -> None:
        average_unfinished(runner)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        if is_main_process():
            point_to(self.last_ckpt, runner.work_dir)

    def _remove(self, names: list[str]) -> None:
        if not is_main_process():
            return
        for name in names:
            path = self.file_backend.join_path(self.out_dir, name)
            if self.file_backend.isfile(path):
                self.file_backend.remove(path)
            elif self.file_backend.isdir(path):
                self.file_backend.rmtree(path)

    def _settle_pointer(self, runner: Runner) -> None:
        folder = Path(runner.work_dir)
        if not _is_local(self.out_dir):
            return
        files = folder if self.out_dir is None else Path(self.out_dir, folder.resolve().name)
        templates = [self.filename_tmpl] if self.filename_tmpl else []
        newest = newest_whole(files, folder, templates)
        for note in newest.notes:
            runner.logger.warning(note)
        if newest.path is None:
            Path(folder, POINTER).unlink(missing_ok=True)
            runner.logger.warning(f'{files} has no checkpoint to resume: the run starts anew')
            return
        runner.logger.info(f'resuming from {newest.path}')
        point_to(newest.path, folder)

    def _prepare_folder(self, runner: Runner) -> None:
        remove_partial_files(self.out_dir)
        remove_partial_files(runner.work_dir)
        check_space(self.out_dir, runner)

    def _moved_here(self, path: str) -> str | None:
        here = Path(self.out_dir, Path(path).name)
        return str(here) if here.exists() else None


def _is_local(folder: str | None) -> bool:
    return folder is None or re.match(r'[\w.+-]{2,}:', str(folder)) is None


def _on_first_rank(action: Callable[[], None]) -> None:
    """Let the first rank do something, and all ranks raise what the user can mend in it."""
    found: list[UserError | None] = [None]
    if is_main_process():
        try:
            action()
        except UserError as error:
            found = [error]
    broadcast_object_list(found)
    if found[0] is not None:
        raise found[0]

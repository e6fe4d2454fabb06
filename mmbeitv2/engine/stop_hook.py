"""Signals end a run between two steps, with a checkpoint."""

import os
import signal
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import Any

from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmbeitv2.checkpoints.atomic import ATOMIC_BACKEND
from mmbeitv2.checkpoints.run_folder import point_to
from mmbeitv2.engine.agreement import Agreement
from mmbeitv2.engine.checkpoint_hook import CheckpointHook
from mmbeitv2.engine.exact_resume_hook import update_is_unfinished
from mmbeitv2.engine.going_on import saves_optimizer
from mmbeitv2.engine.workers import end_workers
from mmbeitv2.errors import STOPPED_EXIT_CODE
from mmbeitv2.registry import HOOKS

# SIGUSR1 is what schedulers send ahead of a time limit.
ASKED_BY = ('SIGTERM', 'SIGINT', 'SIGUSR1')
# A terminal signals torchrun and its processes alike, and torchrun passes the signal on.
SAME_SIGNAL_SECONDS = 2
# Set by tools/torchrun.py, which learns by this file that its processes have saved.
NOTE_VARIABLE = 'MMBEITV2_STOPPED_NOTE'


@HOOKS.register_module()
class StopHook(Hook):
    """Upon SIGTERM, SIGINT or SIGUSR1 finish the step, save, and exit with code 75.

    All processes stop behind the same step: in a run of several, the one after that in which the
    first of them learned of it; where gradients are accumulated, the last of an update. A second
    SIGTERM or SIGINT ends the process at once. So does the end of the process that has started this
    one, torchrun say, as a first signal: nobody would end it afterwards. Signals are looked for in
    training steps alone; what comes in a validation is obeyed after the next step.

    Raises:
        SystemExit: with code 75 (``EX_TEMPFAIL``), once the checkpoint is written.
    """

    # After the schedules and the regular checkpoint of the step.
    priority = 'LOWEST'

    def __init__(self) -> None:
        self._asked: str | None = None
        self._asked_at = 0.0
        self._stopping = False
        self._handlers: dict[int, Callable[..., Any] | int | None] = {}

    def before_train(self, runner: Runner) -> None:
        """Begin to listen."""
        self._asked, self._stopping = None, False
        self._parent = os.getppid()
        self._loop = type(runner.train_loop).run.__code__
        dist_cfg = (runner.cfg.get('env_cfg') or {}).get('dist_cfg') or {}
        self._agreement = Agreement(dist_cfg.get('timeout'))
        _let_workers_outlive(runner)
        if threading.current_thread() is not threading.main_thread():
            runner.logger.info('not in the main thread: signals do not save a checkpoint')
            return
        for name in ASKED_BY:
            if hasattr(signal, name):
                number = getattr(signal, name)
                self._handlers[number] = signal.signal(number, self._ask)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
    ) -> None:
        """Agree, and stop if all gradients have been used and the run does not end anyway."""
        if self._asked is None and os.getppid() != self._parent:
            self._asked = 'the end of the process that started it'
        if not self._stopping:
            self._stopping = self._agreement.look(self._asked is not None)
        if (
            self._stopping
            and not update_is_unfinished(runner)
            and runner.iter + 1 < runner.max_iters
        ):
            self._stop(runner)

    def after_train(self, runner: Runner) -> None:
        """Let signals do again what they did before."""
        self._agreement.last()
        self._restore()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        while frame is not None and frame.f_code is not self._loop:
            frame = frame.f_back
        if frame is None:
            # Training has ended by an error, and nobody would look.
            self._restore()
            os.kill(os.getpid(), number)
            return
        name = signal.Signals(number).name
        if self._asked is None:
            self._asked, self._asked_at = name, monotonic()
            return
        same = 'TORCHELASTIC_RUN_ID' in os.environ
        if name == 'SIGUSR1' or (same and monotonic() - self._asked_at < SAME_SIGNAL_SECONDS):
            return
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _stop(self, runner: Runner) -> None:
        self._agreement.last()
        path = _save(runner)
        barrier()
        if is_main_process() and NOTE_VARIABLE in os.environ:
            Path(os.environ[NOTE_VARIABLE]).touch()
        how = 'go on with --resume'
        if not saves_optimizer(runner):
            how = (
                'without its optimiser (save_optimizer=False), so start a new run from it with '
                f'--cfg-options load_from={path}'
            )
        runner.logger.warning(
            f'stopped by {self._asked or "a signal to another process"} after iteration '
            f'{runner.iter + 1}, saved {path}: {how} (exit code {STOPPED_EXIT_CODE})'
        )
        self._restore()
        if threading.current_thread() is threading.main_thread():
            # The launcher ends the processes that are left when the first has gone.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_workers()
        raise SystemExit(STOPPED_EXIT_CODE)

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        self._handlers = {}


def _save(runner: Runner) -> str:
    for hook in runner.hooks:
        if isinstance(hook, CheckpointHook):
            return hook.save_iteration(runner)
    name, meta = f'iter_{runner.iter + 1}.pth', dict(epoch=runner.epoch, iter=runner.iter + 1)
    runner.save_checkpoint(
        runner.work_dir, name, meta=meta, by_epoch=False, backend_args=dict(backend=ATOMIC_BACKEND)
    )
    path = str(Path(runner.work_dir, name))
    if is_main_process():
        point_to(path, runner.work_dir)
    return path


def _let_workers_outlive(runner: Runner) -> None:
    """Let the loader's workers survive a signal to all processes of the run: steps need them."""
    loader = runner.train_dataloader
    if loader.num_workers:
        loader.worker_init_fn = partial(_start_worker, loader.worker_init_fn)


def _start_worker(init: Callable[[int], None] | None, worker: int) -> None:
    for name in ('SIGINT', 'SIGUSR1'):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    if hasattr(signal, 'sigwaitinfo'):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey_parent, args=(os.getppid(),), daemon=True).start()
    if init is not None:
        init(worker)


def _obey_parent(parent: int) -> None:
    """End this worker at a SIGTERM of the process that reads from it, not at one to the group."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    # As PyTorch's own handler of it, which takes any other code for a crash of the worker.
    os._exit(0)

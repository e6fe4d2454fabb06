"""What to go on from when a run has to end."""

from pathlib import Path

from mmengine.runner import Runner

from mmbeitv2.checkpoints.run_folder import POINTER


def saves_optimizer(runner: Runner) -> bool:
    """Whether its checkpoints can be resumed; with ``save_optimizer=False`` they cannot."""
    return all(getattr(hook, 'save_optimizer', True) for hook in runner.hooks)


def how_to_go_on(runner: Runner) -> str:
    """The end of a message: the last checkpoint that was saved whole, and how to resume from it.

    It is the one that ``last_checkpoint`` names, which is written after the checkpoint; the message
    hub names the next one from the moment on when it is about to be saved.
    """
    pointer = Path(runner.work_dir, POINTER)
    saved = pointer.read_text().strip() if pointer.is_file() else ''
    if not saved or not Path(saved).is_file():
        return 'start again; no checkpoint had been saved before it'
    if not saves_optimizer(runner):
        return (
            'start a new run from the last checkpoint before it, which holds no optimiser '
            f'(save_optimizer=False), with --cfg-options load_from={saved}'
        )
    return f'go on from the last checkpoint before it with --resume {saved}'

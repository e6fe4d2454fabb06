"""What to go on from when a run has to end."""

from pathlib import Path

from mmengine.runner import Runner

from mmbeitv2.checkpoints.run_folder import POINTER


def how_to_go_on(runner: Runner) -> str:
    """The end of a message: the last checkpoint that was saved whole, and how to resume from it.

    It is the one that ``last_checkpoint`` names, which is written after the checkpoint; the message
    hub names the next one from the moment on when it is about to be saved.
    """
    pointer = Path(runner.work_dir, POINTER)
    saved = pointer.read_text().strip() if pointer.is_file() else ''
    if saved and Path(saved).is_file():
        return f'go on from the last checkpoint before it with --resume {saved}'
    return 'start again; no checkpoint had been saved before it'

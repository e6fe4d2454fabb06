"""The folder of a run: that it can be written, and which of its checkpoints to go on from."""

import os
import re
import secrets
from pathlib import Path

from mmengine.config import Config

from mmbeitv2.checkpoints.run_folder import Newest, damage, newest_whole
from mmbeitv2.errors import UnreadableFileError

# Set by tools/slurm_train.sh from the second start on.
RESTARTED_VARIABLE = 'MMBEITV2_RESTARTED'


def check_work_dir(folder: str | Path) -> None:
    """Make the folder and write a file into it, which is removed again.

    Raises:
        OSError: it is a file, read-only, full, or below such; names the folder.
    """
    probe = Path(folder, f'.{secrets.token_hex(8)}.partial')
    try:
        probe.parent.mkdir(parents=True, exist_ok=True)
        try:
            probe.write_bytes(bytes(4096))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        reason = 'it is a file' if Path(folder).is_file() else error.strerror or str(error)
        raise UnreadableFileError(
            f'cannot write 4,096 bytes into work_dir {str(folder)!r}: {reason}; choose another '
            'folder with --work-dir'
        ) from error


def settle_resume(cfg: Config) -> list[str]:
    """Choose the newest whole checkpoint where ``--resume`` names none; check one that is named.

    A scheduler starts the same command again. That goes on from the newest checkpoint too, whatever
    the command says, if there is one.

    Args:
        cfg: with its ``work_dir``; ``resume`` and ``load_from`` are set in place.

    Returns:
        For the log: what was passed over and why, what was chosen.

    Raises:
        OSError: the file is damaged, or all of the folder are.
    """
    restarted = RESTARTED_VARIABLE in os.environ
    named = cfg.get('load_from') if cfg.get('resume') else None
    notes = []
    if restarted or (cfg.get('resume') and not named):
        newest = _newest(cfg)
        notes = newest.notes
        if newest.path is not None:
            cfg.resume, cfg.load_from = True, str(newest.path)
            return [*notes, f'resuming from {newest.path}']
        if not named:
            return [*notes, f'{cfg.work_dir} has no checkpoint to resume: the run starts anew']
    if named and re.match(r'[\w.+-]{2,}:', str(named)) is None:
        found = damage(Path(named).expanduser())
        if found is not None:
            raise UnreadableFileError(
                f'the checkpoint {named} to resume from {found}; plain `--resume` takes the newest '
                'whole one of the work directory'
            )
    return notes


def _newest(cfg: Config) -> Newest:
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    files = Path(cfg.work_dir)
    if hook.get('out_dir'):
        files = Path(hook['out_dir'], files.resolve().name)
    template = hook.get('filename_tmpl')
    return newest_whole(files, cfg.work_dir, [template] if template else [])

"""Leave in the run's folder what is needed to run it again."""

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmbeitv2
from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class RunRecordHook(Hook):
    """Write ``run.json`` beside the log: command, seed, processes, devices, versions, git state.

    mmengine writes the config there and the rest of the environment into the log.
    """

    @master_only
    def before_run(self, runner: Runner) -> None:
        """Write the file into the folder of this start; a resumed run gets one more."""
        devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        record = dict(
            command=sys.argv,
            seed=runner.seed,
            processes=get_world_size(),
            devices=devices or ['cpu'],
            python=sys.version.split()[0],
            packages=dict(sorted((d.name, d.version) for d in importlib.metadata.distributions())),
            mmbeitv2=dict(version=mmbeitv2.__version__, **_git_state()),
        )
        path = Path(runner.log_dir, 'run.json')
        path.write_text(json.dumps(record, indent=1), encoding='utf-8')


def _git_state() -> dict[str, Any]:
    """Commit and changed files of the checkout that this package runs from; empty without one."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ['git', '-C', str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout

    root = Path(mmbeitv2.__file__).resolve().parents[1]
    if not (root / '.git').exists():
        return {}
    try:
        changed = git('status', '--porcelain').splitlines()
        return dict(commit=git('rev-parse', 'HEAD').strip(), changed=changed)
    except (OSError, subprocess.CalledProcessError) as error:
        return dict(git=f'not available: {error}')

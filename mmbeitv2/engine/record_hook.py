"""Leave in the run's folder what is needed to run it again."""

import importlib.metadata
import json
import sys
from pathlib import Path

import torch
from mmengine.dist import get_world_size, master_only
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mmbeitv2
from mmbeitv2.checkout import git_state
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
            mmbeitv2=dict(version=mmbeitv2.__version__, **git_state()),
        )
        path = Path(runner.log_dir, 'run.json')
        path.write_text(json.dumps(record, indent=1), encoding='utf-8')

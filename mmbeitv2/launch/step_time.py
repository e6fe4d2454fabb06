"""How long a training step of a config takes here.

python -m mmbeitv2.launch.step_time CONFIG

prints seconds as JSON. Real photos, model, teacher and optimiser; a tokenizer that is not trained
yet is drawn at random, and compiled layers are not waited for, so that a GPU is faster later.
"""

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Sequence
from statistics import median

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from mmbeitv2.engine.disk_space import training_bytes
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.registry import MODELS

STEPS = 5


def seconds_a_step(cfg: Config, steps: int = STEPS) -> dict[str, float]:
    """Time steps of a training config in this process.

    Args:
        cfg: of VQ-KD or pretraining.
        steps: that are timed, behind one that is not; their median counts.

    Returns:
        Seconds of one step by ``compute``, and of reading its batch by one process by ``read``;
        bytes of what the run keeps on disk by ``disk``.

    Raises:
        UserError: what the config needs is not there, such as the teacher's weights.
    """
    parts = cfg.model.get('target_generator') or cfg.model
    parts.quantizer.kmeans_init = False
    parts.pop('init_cfg', None)
    loader = cfg.train_dataloader
    loader.update(num_workers=0, persistent_workers=False, pin_memory=False)
    loader.pop('prefetch_factor', None)
    device = get_device()
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        model = MODELS.build(cfg.model)
        model.init_weights()
        model.data_preprocessor = MODELS.build(cfg.data_preprocessor)
        model.to(device).train()
        wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
        batches = iter(Runner.build_dataloader(loader, seed=0))
    spent: dict[str, list[float]] = dict(read=[], compute=[])
    # The newest is written before the oldest goes.
    kept = 1 + max(1, cfg.default_hooks.checkpoint.get('max_keep_ckpts', 1))
    disk = kept * training_bytes(model, wrapper)
    for number in range(steps + 1):
        start = time.perf_counter()
        batch = next(batches)
        read = time.perf_counter()
        model.train_step(batch, wrapper)
        if device != 'cpu':
            torch.cuda.synchronize()
        if number:
            spent['read'].append(read - start)
            spent['compute'].append(time.perf_counter() - read)
    return {name: median(values) for name, values in spent.items()} | dict(disk=disk)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('config')
    parser.add_argument('--threads', type=int)
    args = parser.parse_args(argv)
    # Standard output is the answer alone.
    with one_line_errors(), contextlib.redirect_stdout(sys.stderr):
        MMLogger.get_instance('step_time', log_level='WARNING')
        if args.threads:
            torch.set_num_threads(args.threads)
        spent = seconds_a_step(load_config(args.config))
    print(json.dumps(spent))


if __name__ == '__main__':
    main()

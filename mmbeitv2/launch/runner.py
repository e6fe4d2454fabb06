"""What tools/train.py and tools/test.py share: their arguments, and a Runner from them."""

import argparse
import datetime
import gc
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch.distributed
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import Runner

from mmbeitv2.checkpoints.adopting import check_training_checkpoint
from mmbeitv2.checkpoints.host_reading import refuse_code_in_checkpoints
from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.reading import read_weights
from mmbeitv2.checkpoints.sources import checked_source
from mmbeitv2.checkpoints.translation import find_naming, translate, unwrapped
from mmbeitv2.engine import PlainCheckpointHook, SoundWeightsHook, VariedCodesHook
from mmbeitv2.engine.sound_weights_hook import check_whole
from mmbeitv2.errors import InputError
from mmbeitv2.launch.launchers import VARIABLES, check_launcher
from mmbeitv2.launch.options import ConfigOptions

GPU_NORMS = ('SyncBN', 'MMSyncBN', 'SyncBatchNorm')
CPU_NORM = 'mmbeitv2.AnyDeviceSyncBN'
# Without the first a run writes checkpoints that are refused; a user's config may have none.
SAFETY_HOOKS = (PlainCheckpointHook, SoundWeightsHook, VariedCodesHook)


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that every OpenMMLab tool takes: ``--work-dir``, ``--cfg-options``, ...

    Args:
        parser: extended in place.
    """
    parser.add_argument(
        '--work-dir', help='folder for logs and checkpoints (default: work_dirs/CONFIG_NAME)'
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=ConfigOptions,
        metavar='KEY=VALUE',
        help='override values of the config, such as train_dataloader.batch_size=64; '
        'lists as KEY="[a,b]"',
    )
    parser.add_argument('--launcher', choices=['none', 'pytorch', 'slurm', 'mpi'], default='none')
    # Set by torch.distributed.launch, which torchrun has replaced.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0, help=argparse.SUPPRESS)


def set_environment(cfg: Config, args: argparse.Namespace) -> None:
    """Set the work directory, the launcher and the backend of distributed runs.

    Args:
        cfg: changed in place.
        args: parsed arguments of :func:`add_common_arguments` and ``config``.

    Raises:
        UserError: the work directory's name is none, or a variable of the launcher is amiss.
    """
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    check_launcher(args.launcher)
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        if not args.work_dir.strip():
            raise InputError('--work-dir is empty, allowed: a folder for logs and checkpoints')
        if re.match(r'[\w.+-]+://', args.work_dir):
            raise InputError(f'--work-dir is {args.work_dir!r}, allowed: a folder of this machine')
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir') is None:
        cfg.work_dir = f'./work_dirs/{Path(args.config).stem}'
    if args.launcher != 'none' and get_device() == 'cpu':
        _start_gloo(cfg, args.launcher)


def build_runner(cfg: Config) -> Runner:
    """Build the Runner, or the class that ``runner_type`` names; it runs no code of checkpoints.

    What it loads or resumes must be the model's own weights, all of them.

    Args:
        cfg: a complete config.

    Raises:
        UserError: ``load_from`` is no checkpoint, damaged, or holds code, or is to be resumed and
            was saved by no run.
    """
    refuse_code_in_checkpoints()
    if cfg.get('load_from'):
        check_training_checkpoint(checked_source(cfg.load_from), resumed=bool(cfg.get('resume')))
    runner = RUNNERS.build(cfg) if 'runner_type' in cfg else Runner.from_cfg(cfg)
    for kind in SAFETY_HOOKS:
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind(), kind.priority)
    return runner


def load_weights(runner: Runner, checkpoint: str) -> None:
    """Load a checkpoint whose every tensor must fit, where mmengine would only log a difference.

    Files of other projects are brought under our names.

    Args:
        runner: result of :func:`build_runner`, whose model is to be evaluated.
        checkpoint: name, path or address of the file.

    Raises:
        ValueError: a tensor is missing, has another shape or no place; names the file.
    """
    state, metadata = read_weights(checked_source(checkpoint))
    state = unwrapped(state)
    naming = find_naming(state)
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if isinstance(model, BaseTTAModel):
        # Flipped and scaled views wrap it as well.
        model = model.module
    # A model of the project that the file comes from takes it as it is.
    if naming is not None and naming.signature not in model.state_dict():
        load_exactly(model, translate(state, checkpoint, metadata))
        return
    # Not by the runner, whose hooks take what they keep of training, before they have begun.
    check_whole(model, dict(state_dict=state), f'{checkpoint}: this checkpoint')
    # Notes beside the weights alone may be missing: older files have less.
    model.load_state_dict(state, strict=False)
    runner.logger.info(f'{len(state)} tensors loaded from {checkpoint}')


def leave_processes() -> None:
    """End this process's part in a distributed run that has come to its end.

    Call it where nothing refers to the runner any more. gloo's threads end with the last reference
    to their group, which the runner's wrapped model has too, in a circle that only the garbage
    collector undoes. A thread that is there still when Python ends, and then lets go of a tensor,
    aborts the process whose work was done, and torchrun calls the whole run failed. Not for runs
    that end at an error: the other processes may wait within an operation.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
        gc.collect()


def _start_gloo(cfg: Config, launcher: str) -> None:
    """Start the process group on a machine without accelerator.

    mmengine selects a CUDA device before it starts any backend, which fails here; it takes over a
    group that exists already. Its data-parallel wrapper needs ``device_ids=None`` on CPU, and
    PyTorch's refuses models with synchronised batch norm there.
    """
    if launcher == 'slurm':
        nodes = subprocess.run(
            ['scontrol', 'show', 'hostnames', os.environ['SLURM_NODELIST']],
            check=False,
            capture_output=True,
            text=True,
        )
        if nodes.returncode or not nodes.stdout.split():
            raise InputError(
                f'SLURM_NODELIST is {os.environ["SLURM_NODELIST"]!r}, of which scontrol names no '
                f'node: {" ".join(nodes.stderr.split())}'
            )
        os.environ.setdefault('MASTER_ADDR', nodes.stdout.split()[0])
    for name, source in zip(('RANK', 'WORLD_SIZE', 'LOCAL_RANK'), VARIABLES[launcher][:3]):
        os.environ[name] = os.environ[source]
    os.environ.setdefault('MASTER_PORT', '29500')

    dist_cfg = cfg.get('env_cfg', {}).get('dist_cfg', {})
    options: dict[str, Any] = {}
    if dist_cfg.get('timeout'):
        options['timeout'] = datetime.timedelta(seconds=dist_cfg['timeout'])
    torch.distributed.init_process_group(backend='gloo', **options)
    norms = list(_gpu_norms(cfg.get('model')))
    for norm in norms:
        norm['type'] = CPU_NORM
    if int(os.environ['RANK']) == 0:
        asked = dist_cfg.get('backend', 'nccl')
        print_log(f'no accelerator found: training on CPU processes, gloo instead of {asked}')
        if norms:
            print_log(
                f'{len(norms)} norm configs of SyncBN, which needs GPUs, use {CPU_NORM} instead: '
                'the same statistics of all processes, weights under the same names'
            )
    wrapper = cfg.get('model_wrapper_cfg') or {
        'type': 'MMDistributedDataParallel',
        'broadcast_buffers': False,
        'find_unused_parameters': cfg.get('find_unused_parameters', False),
    }
    cfg.model_wrapper_cfg = {**wrapper, 'device_ids': None}


def _gpu_norms(node: Any) -> Iterator[dict[str, Any]]:
    """Yield the configs below ``node`` of norms that are synchronised on GPUs alone."""
    if isinstance(node, dict):
        kind = node.get('type')
        # A class in configs of mmengine's newer kind.
        if getattr(kind, '__name__', str(kind)).split('.')[-1] in GPU_NORMS:
            yield node
        for child in node.values():
            yield from _gpu_norms(child)
    elif isinstance(node, list | tuple):
        for child in node:
            yield from _gpu_norms(child)

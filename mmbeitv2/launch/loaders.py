"""How many processes load data, and whether the machine can hold what they load."""

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from mmbeitv2.errors import InputError
from mmbeitv2.registry import type_name

SHARED_MEMORY = Path('/dev/shm')
# A worker's index queue and sentinel, and one tensor for each batch it has sent.
DESCRIPTORS_A_WORKER = 3
# What mmengine's Runner raises the limit of open files to, where it may.
RESOURCE_LIMIT = 4096
NODE_VARIABLES = {
    'pytorch': 'LOCAL_WORLD_SIZE',
    'slurm': 'SLURM_NTASKS_PER_NODE',
    'mpi': 'OMPI_COMM_WORLD_LOCAL_SIZE',
}


def processes_of_node(launcher: str) -> int:
    """Processes of this run on this machine, as its launcher says; 1 without one."""
    value = os.environ.get(NODE_VARIABLES.get(launcher, ''), '1')
    # SLURM writes '8(x2)' for 8 on each of two nodes.
    number = re.match(r'[1-9]\d*', value)
    if number is None:
        raise InputError(f'{NODE_VARIABLES[launcher]} is {value!r}, allowed: 1 or more')
    return int(number.group())


def cores_of_process(launcher: str) -> int:
    """Cores that this process and its workers may use, at least 1.

    Args:
        launcher: The tools' ``--launcher``.

    Returns:
        int: The cores of this machine that are allowed to this process, divided by the run's
        processes on it; under SLURM with ``--cpus-per-task``, which binds each process to cores of
        its own, no more than that.
    """
    # macOS has no affinities.
    affinity = getattr(os, 'sched_getaffinity', lambda _: range(os.cpu_count() or 1))
    cores = len(affinity(0))
    if launcher == 'slurm' and 'SLURM_CPUS_PER_TASK' in os.environ:
        return min(cores, int(os.environ['SLURM_CPUS_PER_TASK']))
    return max(1, cores // processes_of_node(launcher))


def settle_workers(cfg: Config, cores: int, options: Collection[str] = ()) -> str:
    """Lower the number of workers of every dataloader to the cores that there are.

    ``num_workers`` of a config is the most that its recipe has a use for. Where that is more than
    the cores of a process but one, which the training itself needs, it becomes those; it is never
    raised, 0 stays 0, and what ``--cfg-options`` sets is left alone. With 0 workers nothing
    persists and nothing is prefetched, which torch refuses to be asked for; without a GPU no memory
    is pinned. The prefetch factor stays as it is, torch's 2 unless the config says otherwise: more
    of it bridges longer pauses, but does not load faster.

    Args:
        cfg: The run's config; its dataloaders are changed in place.
        cores: Cores of this process, see ``cores_of_process``.
        options: Keys of ``--cfg-options``.

    Returns:
        str: For the log: workers of every dataloader, and why.
    """
    said = []
    for name, loader in _loaders(cfg, ('train', 'val', 'test')):
        asked = loader.get('num_workers', 0)
        workers = asked
        if f'{name}.num_workers' not in options:
            workers = loader['num_workers'] = min(asked, max(1, cores - 1))
        if workers == 0:
            loader['persistent_workers'] = False
            loader.pop('prefetch_factor', None)
        if loader.get('pin_memory') and get_device() == 'cpu':
            loader['pin_memory'] = False
        lowered = f' (the config allows {asked})' if workers < asked else ''
        said.append(f'{name.removesuffix("_dataloader")} {workers}{lowered}')
    return f'workers of a process, which has {cores} cores: {", ".join(said)}'


def check_loaders(cfg: Config, processes: int, phases: Sequence[str] = ('train', 'val')) -> None:
    """Refuse workers that would certainly run out of open files or of shared memory.

    Both are estimated from below: one file for each batch under way, and of shared memory the
    uint8 pixels of one batch for each worker, or of all batches under way where none are pinned.

    Args:
        cfg: The run's config, its workers settled.
        processes: Processes of the run on this machine.
        phases: Whose dataloaders are used.

    Raises:
        ValueError: with the number, the limit and the cure.
    """
    for name, loader in _loaders(cfg, phases):
        workers = loader.get('num_workers', 0)
        if workers:
            _check_open_files(cfg, name, loader)
            _check_shared_memory(name, loader, processes)


def _loaders(cfg: Config, phases: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    for phase in phases:
        name = f'{phase}_dataloader'
        if isinstance(cfg.get(name), Mapping):
            yield name, cfg[name]


def _prefetched(loader: Mapping[str, Any]) -> int:
    """Batches under way for each worker."""
    return loader.get('prefetch_factor') or 2


def _check_open_files(cfg: Config, name: str, loader: Mapping[str, Any]) -> None:
    if os.name != 'posix':
        return
    import resource  # Windows has none.

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        return
    asked = (cfg.get('env_cfg') or {}).get('resource_limit', RESOURCE_LIMIT)
    limit = min(max(asked, soft), hard)
    opened = len(os.listdir('/proc/self/fd')) if Path('/proc/self/fd').is_dir() else 3
    a_worker = DESCRIPTORS_A_WORKER + _prefetched(loader)
    needed = opened + loader['num_workers'] * a_worker
    if needed > limit:
        raise InputError(
            f'{name}.num_workers={loader["num_workers"]} needs at least {needed} open files, but '
            f'this process may have {limit}: raise the hard limit (`ulimit -Hn`), or give '
            f'`--cfg-options {name}.num_workers={max(0, (limit - opened) // a_worker)}`'
        )


def _check_shared_memory(name: str, loader: Mapping[str, Any], processes: int) -> None:
    if not SHARED_MEMORY.is_dir():
        return
    images = loader.get('batch_size', 1)
    batches = loader['num_workers'] * (1 if loader.get('pin_memory') else _prefetched(loader))
    needed = processes * batches * images * 3 * _pixels(loader)
    free = shutil.disk_usage(SHARED_MEMORY).free
    if needed > free:
        fitting = loader['num_workers'] * free // needed
        raise InputError(
            f'{name}: {processes} processes × {batches} batches of {images} images need at least '
            f'{needed / 1e6:,.0f} MB of shared memory, but {SHARED_MEMORY} has '
            f'{free / 1e6:,.0f} MB free: enlarge it (docker run --shm-size='
            f'{needed // 2**30 + 1}g), or give `--cfg-options {name}.num_workers={fitting}`'
        )


def _pixels(loader: Mapping[str, Any]) -> int:
    """Pixels of an image of a batch; 0 where the pipeline does not tell."""
    for transform in _transforms((loader.get('dataset') or {}).get('pipeline') or ()):
        if type_name(transform['type']).split('.')[-1] in ('LoadRandomCrop', 'LoadCenterCrop'):
            size = transform['size']
            return size * size if isinstance(size, int) else size[0] * size[1]
    return 0


def _transforms(pipeline: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    for transform in pipeline:
        if isinstance(transform, Mapping):
            yield transform
            yield from _transforms(transform.get('transforms', ()))
        else:
            yield from _transforms(transform)

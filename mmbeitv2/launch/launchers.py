"""What the launchers of distributed runs put into the environment, checked before it is used."""

import os
import shutil
from typing import NamedTuple

from mmbeitv2.errors import InputError, NotInstalledError

STARTS = 'start the run with tools/dist_train.sh, tools/slurm_train.sh or mpirun'


class Variables(NamedTuple):
    """Names of the environment variables of one launcher."""

    rank: str
    world_size: str
    local_rank: str
    others: tuple[str, ...] = ()


VARIABLES = {
    'pytorch': Variables('RANK', 'WORLD_SIZE', 'LOCAL_RANK', ('MASTER_ADDR', 'MASTER_PORT')),
    'slurm': Variables('SLURM_PROCID', 'SLURM_NTASKS', 'SLURM_LOCALID', ('SLURM_NODELIST',)),
    'mpi': Variables(
        'OMPI_COMM_WORLD_RANK',
        'OMPI_COMM_WORLD_SIZE',
        'OMPI_COMM_WORLD_LOCAL_RANK',
        ('MASTER_ADDR',),
    ),
}


def check_launcher(launcher: str) -> None:
    """Check that a launcher's variables are set and fit one another.

    Args:
        launcher: the tools' ``--launcher``; ``'none'`` has none.

    Raises:
        UserError: one is missing, no number, or out of range; or SLURM's command is missing.
    """
    if launcher == 'none':
        return
    names = VARIABLES[launcher]
    for name in (*names[:3], *names.others):
        if not os.environ.get(name):
            cure = 'the address of the first node' if name == 'MASTER_ADDR' else STARTS
            raise InputError(f'--launcher {launcher} needs {name}, which is not set: {cure}')
    size = _number(names.world_size, launcher, 1)
    for name in (names.rank, names.local_rank):
        if _number(name, launcher, 0) >= size:
            raise InputError(
                f'{name} is {os.environ[name]}, allowed: below {names.world_size}, {size}; {STARTS}'
            )
    if launcher == 'slurm' and shutil.which('scontrol') is None:
        raise NotInstalledError(
            '--launcher slurm asks `scontrol` for the nodes, which is not on the PATH: run on a '
            'node of the cluster, or with --launcher pytorch'
        )


def _number(name: str, launcher: str, least: int) -> int:
    text = os.environ[name]
    if not text.isdigit() or int(text) < least:
        raise InputError(
            f'--launcher {launcher}: {name} is {text!r}, allowed: a whole number from {least} on'
        )
    return int(text)

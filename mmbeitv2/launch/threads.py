"""How the threads of a step wait for each other, which torch reads as it is loaded.

GNU OpenMP, which torch's wheels for Linux bring, lets a thread that waits turn on its core for
milliseconds before it sleeps. Where something else runs on one of the cores (a loader worker, a
browser, another job), the others so wait in full for a thread that has lost its core: on two cores
with one other process a step took some thirty times as long as it should have
(``tools/benchmark/shared_cores.py``). Asleep after a thousand turns, it takes twice as long, and
nothing is lost where the cores are free.
"""

import os
from collections.abc import MutableMapping

TURNS = '1000'
# What a user may have set, each in its own words.
CHOSEN = ('GOMP_SPINCOUNT', 'OMP_WAIT_POLICY')


def wait_asleep(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let waiting threads sleep soon, unless the user has chosen; call it before torch is loaded.

    Args:
        environment: of this process and of those that it starts.
    """
    if not any(name in environment for name in CHOSEN):
        environment['GOMP_SPINCOUNT'] = TURNS

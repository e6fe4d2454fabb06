"""How many CPUs a process of a run keeps busy.

python -m mmbeitv2.launch.cpus CONFIG [further arguments of train.py or test.py]
"""

import argparse
import contextlib
import sys
from collections.abc import Sequence

from mmengine.config import Config

from mmbeitv2.errors import InputError
from mmbeitv2.launch.user_errors import one_line_errors

LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')


def cpus_per_process(cfg: Config) -> int:
    """One for the process and one for each worker of its largest dataloader, 1 or more.

    Dataloaders work in turns: while one is read, the workers of the others wait.

    Args:
        cfg: the run's config, overrides applied.

    Raises:
        ValueError: a number of workers that is no whole number from 0 on.
    """
    workers = {
        f'{name}.num_workers': (cfg.get(name) or {}).get('num_workers', 0) for name in LOADERS
    }
    for key, number in workers.items():
        if not isinstance(number, int) or number < 0:
            raise InputError(
                f'{key} is {number!r}, allowed: 0 or more; or set CPUS_PER_TASK, the CPUs to ask '
                'for each process'
            )
    return 1 + max(workers.values())


def main(argv: Sequence[str] | None = None) -> None:
    """Print the number for the arguments of train.py or test.py."""
    # Standard output is the number alone; what imports and the config say goes elsewhere.
    with one_line_errors(), contextlib.redirect_stdout(sys.stderr):
        from mmbeitv2.launch.config import load_config
        from mmbeitv2.launch.runner import add_common_arguments

        parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
        parser.add_argument('config')
        add_common_arguments(parser)
        args, _ = parser.parse_known_args(argv)
        number = cpus_per_process(load_config(args.config, args.cfg_options))
    print(number)


if __name__ == '__main__':
    main()

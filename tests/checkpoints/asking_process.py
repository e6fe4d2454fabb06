"""One rank that wants published weights: ``python asking_process.py NAME RANK RANKS PORT TABLE``.

Prints the file's path and SHA-256.
"""

import json
import sys
from pathlib import Path

import torch.distributed

from mmbeitv2.checkpoints import catalogue
from mmbeitv2.checkpoints.hashes import sha256
from mmbeitv2.checkpoints.sources import local_file


def main() -> None:
    name, rank, ranks, port, table = sys.argv[1:]
    catalogue.TABLE = Path(table)
    torch.distributed.init_process_group(
        'gloo', f'tcp://127.0.0.1:{port}', rank=int(rank), world_size=int(ranks)
    )
    torch.distributed.barrier()
    with local_file(name) as path:
        print(json.dumps([str(path), sha256(path)]), flush=True)
    torch.distributed.destroy_process_group()


main()

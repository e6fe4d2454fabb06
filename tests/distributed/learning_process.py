"""One process of a run that is looked at: ``python learning_process.py FOLDER RANK WORLD_SIZE``.

Trains a tokenizer and a pretraining on FOLDER's photos with looks and without, and writes the
weights that this rank ends with to ``FOLDER/RANK_of_WORLD_SIZE.pt``; one process alone pretrains
with looks.
"""

import copy
import os
import sys
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / 'fixtures'))

import torch
import torch.distributed as dist
from conftest import BEITV2_CONFIG, VQKD_CONFIG, build_runner
from learned_photos import loaders
from mmengine.model import is_model_wrapper

from mmbeitv2.models import VQKD, BEiTV2

HOOK = dict(type='mmbeitv2.LearningHook')
USAGE = dict(type='mmbeitv2.CodebookUsageHook')


def train(kind: str, hooks: list, folder: Path, name: str, world_size: int) -> dict:
    """State of the model after an epoch, counts of codes included."""
    torch.manual_seed(0)
    if kind == 'pretraining':
        model = BEiTV2(**copy.deepcopy(BEITV2_CONFIG))
    else:
        config = copy.deepcopy(VQKD_CONFIG)
        config['quantizer'] = dict(num_codes=16, code_dim=8)
        model, hooks = VQKD(**config), [USAGE, *hooks]
        hooks.insert(0, dict(type='mmbeitv2.CodebookInitHook', vectors_per_code=2))
    model.init_weights()
    data = loaders(folder, kind == 'pretraining', batch_size=4 // world_size)
    # The same name on every rank; mmengine's instances are global by name.
    runner = build_runner(model, folder / name, name, hooks=hooks, override=data)
    runner.train()
    found = runner.model.module if is_model_wrapper(runner.model) else runner.model
    return {n: value.clone() for n, value in (*found.named_parameters(), *found.named_buffers())}


def main() -> None:
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    if world_size > 1:
        dist.init_process_group(
            'gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=world_size
        )
    # One process is there to compare looks with.
    wanted = dict(watched=[HOOK]) | (dict(plain=[]) if world_size > 1 else {})
    ends = {
        f'{kind}_{name}': train(kind, hooks, folder, f'{kind}_{name}_{world_size}', world_size)
        for kind in (('tokenizer', 'pretraining') if world_size > 1 else ('pretraining',))
        for name, hooks in wanted.items()
    }
    if world_size > 1:
        torch.save(ends, folder / f'{rank}_of_{world_size}.pt')
        dist.destroy_process_group()


if __name__ == '__main__':
    main()

"""One process of a distributed run: ``python process.py FOLDER RANK WORLD_SIZE``.

Writes what this rank holds after every scenario to ``FOLDER/RANK.pt``, for the tests to compare.
With one process, the batches are those of all ranks joined.
"""

import copy
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

os.environ['OMP_NUM_THREADS'] = '1'
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
import torch.distributed as dist
from conftest import BEITV2_CONFIG, CAN_SHARD, VQKD_CONFIG, build_runner
from mmpretrain.structures import DataSample
from torch import Tensor
from torch.distributed import tensor as dtensor
from torch.nn.parallel import DistributedDataParallel

from mmbeitv2.engine import checkpoint_hook
from mmbeitv2.models import VQKD, AnyDeviceSyncBN, BEiTV2, LinearProbeHead, NormEMAQuantizer

STEPS = 4
SCALARS = ('loss', 'loss_mim', 'loss_cls', 'grad_norm')


def state_of(module: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def joined_batches(*shape: int) -> Tensor:
    """The same on every rank."""
    return torch.randn(STEPS, *shape, generator=torch.Generator().manual_seed(7))


def train_quantizer(rank: int, world_size: int, **kwargs) -> dict:
    """Quantizer after k-means and after every step, on this rank's share of each batch."""
    torch.manual_seed(rank)
    quantizer = NormEMAQuantizer(num_codes=32, code_dim=8, decay=0.9, **kwargs)
    states, codes = [], []
    for batch in joined_batches(4, 8, 4, 4):
        codes.append(quantizer(batch.chunk(world_size)[rank])[1])
        states.append({**state_of(quantizer), 'code_counts': quantizer.code_counts.clone()})
    return dict(states=states, codes=torch.stack(codes))


def eval_on_one_rank(rank: int, world_size: int) -> dict:
    """A collective in eval mode would wait for the other rank, or meet its next collective."""
    torch.manual_seed(0)
    quantizer = NormEMAQuantizer(num_codes=32, code_dim=8, kmeans_init=False).eval()
    before = state_of(quantizer)
    if rank == 0:
        quantizer(joined_batches(4, 8, 4, 4)[0])
    total = torch.ones(())
    dist.all_reduce(total)
    return dict(before=before, after=state_of(quantizer), total=total)


def pretraining_step(rank: int, world_size: int) -> dict:
    """Losses and gradients of one step under DDP."""
    torch.manual_seed(0)
    model = BEiTV2(**copy.deepcopy(BEITV2_CONFIG))
    model.init_weights()
    model.train()
    images = joined_batches(4, 3, 64, 64)[0].clamp(-1, 1)
    order = torch.rand(4, 16, generator=torch.Generator().manual_seed(3)).argsort(dim=1)
    masks = (order < 6).chunk(world_size)[rank]
    views = [images.chunk(world_size)[rank]] * 2

    class Sample:
        def __init__(self, mask: Tensor) -> None:
            self.mask = mask.view(4, 4)

    ddp = DistributedDataParallel(model)
    losses = ddp(views, [Sample(mask) for mask in masks], mode='loss')
    (losses['loss_mim'] + losses['loss_cls']).backward()
    return dict(gradients={n: p.grad for n, p in model.named_parameters() if p.requires_grad})


def train_probe(rank: int, world_size: int) -> dict:
    """Linear probe under DDP, on features whose means are many standard deviations from 0."""
    torch.manual_seed(0)
    head = LinearProbeHead(in_channels=6, num_classes=3, features=['cls'])
    ddp = DistributedDataParallel(ProbeLoss(head), broadcast_buffers=False)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
    states = []
    for features in joined_batches(8, 6) + 300 + 100 * torch.arange(6):
        share = slice(rank * 8 // world_size, (rank + 1) * 8 // world_size)
        ddp(features[share], [DataSample().set_gt_label(i % 3) for i in range(8)][share]).backward()
        optimizer.step()
        optimizer.zero_grad()
        states.append(state_of(head))
    return dict(states=states, logits=head.eval()(((features, features),))['cls'])


class ProbeLoss(torch.nn.Module):
    """What DDP wraps: its forward pass is the loss."""

    def __init__(self, head: LinearProbeHead) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor, samples: list) -> Tensor:
        return self.head.loss(((features, features),), samples)['loss_cls']


def synchronized_norm(rank: int, world_size: int) -> dict:
    """Outputs, gradients and statistics of a norm whose ranks have three and two images."""
    norm = AnyDeviceSyncBN(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
    x, target = joined_batches(5, 3, 2, 2)[:2]
    x = (7 * x.chunk(world_size)[rank] + 40).requires_grad_()
    outputs = norm(x)
    (outputs * target.chunk(world_size)[rank]).sum().backward()
    return dict(
        outputs=outputs.detach(),
        gradient=x.grad,
        parameters={name: p.grad for name, p in norm.named_parameters()},
        state=state_of(norm),
    )


def checkpoint_due(rank: int, world_size: int) -> dict:
    """Whether a checkpoint is due where half an hour has passed on one rank's clock alone."""
    found = {}
    for ahead in range(world_size):
        seconds = [0, 1801 if rank == ahead else 1799, 0]
        with mock.patch.object(checkpoint_hook, 'monotonic', side_effect=seconds):
            hook = checkpoint_hook.CheckpointHook(minutes=30)
            found[ahead] = hook.every_n_epochs(SimpleNamespace(epoch=0), -1)
    return found


def distributed_runner(model: torch.nn.Module, folder: Path, rank: int, name: str, **kwargs):
    os.environ['LOCAL_RANK'] = str(rank)
    return build_runner(
        model,
        folder / name,
        name,
        launcher='pytorch',
        cfg=dict(
            model_wrapper_cfg=dict(
                type='MMDistributedDataParallel', broadcast_buffers=False, device_ids=None
            )
        ),
        **kwargs,
    )


def pretrain(rank: int, world_size: int, folder: Path) -> dict:
    """Some steps of pretraining by mmengine's Runner."""
    torch.manual_seed(0)
    model = BEiTV2(**copy.deepcopy(BEITV2_CONFIG))
    tokenizer = model.target_generator
    before = {**state_of(tokenizer), **{n: b.clone() for n, b in tokenizer.named_buffers()}}
    hooks = [dict(type='mmbeitv2.ImagesPerSecondHook')]
    runner = distributed_runner(model, folder, rank, 'beitv2', hooks=hooks, epochs=2)
    runner.train()
    logged, _ = runner.log_processor.get_log_after_iter(runner, 1, 'train')
    name_of = {id(p): n for n, p in model.named_parameters()}
    return dict(
        wrapper=type(runner.model).__name__,
        steps=runner.iter,
        images_per_step=float(logged['images_per_second'] * logged['time']),
        tokenizer_before=before,
        tokenizer_after={**state_of(tokenizer), **dict(tokenizer.named_buffers())},
        tokenizer_training=any(module.training for module in tokenizer.modules()),
        optimised=sorted(
            name_of[id(p)]
            for group in runner.optim_wrapper.optimizer.param_groups
            for p in group['params']
        ),
        student={n: v for n, v in state_of(model).items() if not n.startswith('target')},
    )


def pretrain_sharded(rank: int, folder: Path, name: str, **kwargs) -> dict:
    """The same run with the model spread over the processes."""
    return clipped_pretraining(
        *(rank, folder, name),
        runner_type='FlexibleRunner',
        strategy=dict(type='mmbeitv2.ShardedStrategy'),
        **kwargs,
    )


def clipped_pretraining(rank: int, folder: Path, name: str, **kwargs) -> dict:
    """Pretraining whose gradients are clipped at every step; the checkpoint holds its end."""
    torch.manual_seed(0)
    model = BEiTV2(**copy.deepcopy(BEITV2_CONFIG))
    runner = distributed_runner(model, folder, rank, name, epochs=2, **kwargs)
    runner.optim_wrapper['clip_grad'] = dict(max_norm=1.0)
    runner.train()
    scalars = {n: runner.message_hub.get_scalar(f'train/{n}').data[0] for n in SCALARS}
    return dict(
        scalars={n: torch.as_tensor(values) for n, values in scalars.items()},
        decayed=[
            sum(p.numel() for p in group['params'])
            for group in runner.optim_wrapper.optimizer.param_groups
            if group['weight_decay'] > 0
        ],
        held={n: held_here(p).numel() for n, p in model.named_parameters()},
        sizes={n: p.numel() for n, p in model.named_parameters()},
        checkpoint=str(folder / name / 'epoch_2.pth'),
    )


def held_here(parameter: Tensor) -> Tensor:
    return parameter.to_local() if isinstance(parameter, dtensor.DTensor) else parameter


def train_vqkd(rank: int, world_size: int, folder: Path) -> dict:
    """Tokenizer training by mmengine's Runner, its codebook started by the hook."""
    torch.manual_seed(0)
    model = VQKD(**copy.deepcopy(VQKD_CONFIG))
    hooks = [
        dict(type='mmbeitv2.CodebookInitHook', vectors_per_code=2),
        dict(type='mmbeitv2.CodebookUsageHook'),
    ]
    runner = distributed_runner(model, folder, rank, 'vqkd', hooks=hooks, epochs=2)
    runner.train()
    return dict(
        steps=runner.iter,
        state=state_of(model),
        code_counts=model.quantize.code_counts,
        checkpoint=str(folder / 'vqkd/epoch_2.pth'),
    )


def main(folder: Path, rank: int, world_size: int) -> None:
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/store_{world_size}', rank=rank, world_size=world_size
    )
    results = dict(
        quantizer=train_quantizer(rank, world_size),
        revived=train_quantizer(rank, world_size, revive_below=0.9),
        eval=eval_on_one_rank(rank, world_size),
        step=pretraining_step(rank, world_size),
        probe=train_probe(rank, world_size),
        norm=synchronized_norm(rank, world_size),
        due=checkpoint_due(rank, world_size),
    )
    if world_size > 1:
        results['pretrain'] = pretrain(rank, world_size, folder)
        results['vqkd'] = train_vqkd(rank, world_size, folder)
    if world_size > 1 and CAN_SHARD:
        plain, sharded = (
            {'resume': True, 'load_from': str(folder / name / 'epoch_1.pth')}
            for name in ('plain', 'sharded')
        )
        results['plain'] = clipped_pretraining(rank, folder, 'plain')
        results['sharded'] = pretrain_sharded(rank, folder, 'sharded')
        results['sharded_again'] = pretrain_sharded(rank, folder, 'sharded_again', **sharded)
        results['sharded_from_plain'] = pretrain_sharded(rank, folder, 'from_plain', **plain)
        results['plain_from_sharded'] = clipped_pretraining(rank, folder, 'from_sharded', **sharded)
    torch.save(results, folder / f'{rank}_of_{world_size}.pt')
    dist.destroy_process_group()


if __name__ == '__main__':
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))

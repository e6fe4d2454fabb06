"""Compare a training step with that of mmsegmentation's BEiT backbone, on the same weights.

    python tools/benchmark/segmentation.py --size 512 --pairs 3 --json result.json

Both peers take turns, each time in a process of its own, so that a busy machine slows both and the
peak memory is theirs alone. Reported is the ratio of every pair: mmseg's over ours for time, ours
over mmseg's for memory.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import PixelData
from mmseg.structures import SegDataSample
from torch import Tensor, nn

from mmbeitv2.apis.config import load_config
from mmbeitv2.models import BEiTViT

CONFIG = 'mmbeitv2::segmentation/upernet_beitv2-b16_1600e_160k_ade20k-512x512.py'
PEERS = ('ours', 'mmseg')
PACKAGES = ('torch', 'timm', 'mmengine', 'mmsegmentation')
BEIT_NAMES = {
    'patch_embed.proj': 'patch_embed.projection',
    'norm1': 'ln1',
    'norm2': 'ln2',
    'mlp.fc1': 'ffn.layers.0.0',
    'mlp.fc2': 'ffn.layers.1',
    'blocks': 'layers',
}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--size', type=int, default=512, help='side of the images in pixels')
    parser.add_argument('--batch', type=int, default=2, help='images a step')
    parser.add_argument('--pairs', type=int, default=3, help='turns of each peer')
    parser.add_argument(
        '--steps', type=int, default=2, help='timed steps a turn, after one untimed'
    )
    parser.add_argument(
        '--part',
        choices=['backbone', 'upernet'],
        default='upernet',
        help='train all of UperNet, or the backbone alone to the mean square of its features',
    )
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--threads', type=int, help='CPU threads of each process')
    parser.add_argument('--json', metavar='FILE', help='write all measurements to this file')
    parser.add_argument('--child', nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.part == 'upernet' and args.batch < 2:
        parser.error(
            f'--batch is {args.batch}, but UperNet pools an image to one pixel and its batch norm '
            'needs 2 or more: give --batch 2, or --part backbone'
        )
    return args


def mmseg_config(backbone: dict) -> dict:
    """Config of mmsegmentation's BEiT of the same architecture as a base-size BEiTViT's."""
    return dict(
        type='mmseg.BEiT',
        img_size=backbone['img_size'],
        init_values=backbone['init_values'],
        drop_path_rate=backbone['drop_path_rate'],
        norm_cfg=dict(type='LN', eps=1e-6),
        out_indices=backbone['out_indices'],
    )


def to_mmseg_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a BEiTViT with a bias per layer by the names of mmsegmentation's BEiT."""
    renamed = {}
    for name, value in state.items():
        for ours, theirs in BEIT_NAMES.items():
            name = name.replace(ours, theirs)
        renamed[name] = value
    return renamed


def build(cfg: Config, peer: str, weights: dict[str, Tensor], part: str) -> nn.Module:
    """UperNet with the peer's backbone and given backbone weights, or that backbone alone."""
    import mmseg.models  # noqa: F401  registers UperNet

    if peer == 'mmseg':
        cfg.model.backbone = mmseg_config(cfg.model.backbone)
        weights = to_mmseg_names(weights)
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(cfg.model if part == 'upernet' else cfg.model.backbone)
    backbone = model.backbone if part == 'upernet' else model
    left = backbone.load_state_dict(weights, strict=False)
    assert not left.unexpected_keys
    assert all(name.endswith('relative_position_index') for name in left.missing_keys)
    return revert_sync_batchnorm(model)


def training_step(
    model: nn.Module, part: str, batch: int, size: int, device: str
) -> Callable[[], None]:
    """A function that makes one step of AdamW on random images and labels."""
    images = torch.randn(batch, 3, size, size, device=device)
    samples = [SegDataSample(metainfo=dict(img_shape=(size, size))) for _ in range(batch)]
    for sample in samples:
        sample.gt_sem_seg = PixelData(data=torch.randint(150, (1, size, size), device=device))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5, weight_decay=0.05)

    def step() -> None:
        if part == 'backbone':
            loss = sum(feature.square().mean() for feature in model(images))
        else:
            losses = model.loss(images, samples)
            loss = sum(value for name, value in losses.items() if 'loss' in name)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device != 'cpu':
            torch.cuda.synchronize()

    return step


def peak_memory(device: str) -> float:
    """Highest memory so far in MB: of the process, or allocated on the GPU."""
    if device != 'cpu':
        return torch.cuda.max_memory_allocated() / 1e6
    status = Path('/proc/self/status')
    if status.is_file():
        # Not ru_maxrss, which a process on Linux starts with the peak of the one that started it.
        (line,) = [line for line in status.read_text().splitlines() if line.startswith('VmHWM')]
        return int(line.split()[1]) * 1024 / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # macOS: in bytes


def run_child(args: argparse.Namespace) -> None:
    """Measure one peer in this process and print the result as JSON."""
    peer, folder = args.child
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    cfg = config_of(args)
    weights = torch.load(Path(folder, 'weights.pth'), weights_only=True, mmap=True)
    model = build(cfg, peer, weights, args.part).to(args.device)
    model.train()
    step = training_step(model, args.part, args.batch, args.size, args.device)
    built = peak_memory(args.device)
    step()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(args.steps):
        step()
    result = dict(
        peer=peer,
        step_s=(time.perf_counter() - wall) / args.steps,
        step_cpu_s=(time.process_time() - cpu) / args.steps,
        peak_mb=peak_memory(args.device),
        built_mb=built,
    )
    print(json.dumps(result))


def config_of(args: argparse.Namespace) -> Config:
    """The paper's config at the size asked for, without a checkpoint."""
    cfg = load_config(CONFIG)
    cfg.model.backbone.init_cfg = None
    cfg.model.backbone.img_size = (args.size, args.size)
    return cfg


def feature_difference(args: argparse.Namespace, weights: dict[str, Tensor]) -> float:
    """Largest difference of the peers' features of one image, in eval mode."""
    features = []
    for peer in PEERS:
        torch.manual_seed(0)
        image = torch.randn(1, 3, args.size, args.size)
        backbone = build(config_of(args), peer, weights, 'backbone')
        backbone.eval()
        with torch.no_grad():
            features.append(backbone(image))
    return max((a - b).abs().max().item() for a, b in zip(*features))


def make_weights(args: argparse.Namespace, path: Path) -> dict[str, Tensor]:
    """Random weights whose relative bias is not zero, written to ``path``."""
    torch.manual_seed(0)
    backbone = config_of(args).model.backbone
    del backbone['type']
    model = BEiTViT(**backbone)
    model.init_weights()
    for block in model.blocks:
        nn.init.normal_(block.attn.relative_position_bias_table)
    torch.save(model.state_dict(), path)
    return model.state_dict()


def measure(args: argparse.Namespace) -> dict:
    """Run all turns; return measurements, ratios and the machine."""
    with tempfile.TemporaryDirectory() as folder:
        weights = make_weights(args, Path(folder, 'weights.pth'))
        difference = feature_difference(args, weights)
        del weights
        command = [sys.executable, __file__, *sys.argv[1:]]
        pairs = []
        for _ in range(args.pairs):
            turns = [
                subprocess.run(
                    [*command, '--child', peer, folder],
                    check=True,
                    stdout=subprocess.PIPE,
                    text=True,
                ).stdout.splitlines()[-1]
                for peer in PEERS
            ]
            pairs.append([json.loads(turn) for turn in turns])
            print(describe(pairs[-1]), flush=True)
    return dict(
        part=args.part,
        size=args.size,
        batch=args.batch,
        largest_feature_difference=difference,
        speedup=ratios(pairs, lambda ours, mmseg: mmseg['step_s'] / ours['step_s']),
        speedup_cpu_time=ratios(
            pairs, lambda ours, mmseg: mmseg['step_cpu_s'] / ours['step_cpu_s']
        ),
        memory=ratios(pairs, lambda ours, mmseg: ours['peak_mb'] / mmseg['peak_mb']),
        memory_of_step=ratios(pairs, lambda ours, mmseg: step_memory(ours) / step_memory(mmseg)),
        pairs=pairs,
        machine=dict(
            processor=processor_name(),
            threads=args.threads or torch.get_num_threads(),
            device=torch.cuda.get_device_name() if args.device != 'cpu' else 'cpu',
            python=platform.python_version(),
            **{module: installed_version(module) for module in PACKAGES},
        ),
    )


def step_memory(turn: dict) -> float:
    """Memory of gradients, optimiser state and activations: above that of the built model."""
    return turn['peak_mb'] - turn['built_mb']


def ratios(pairs: list[list[dict]], ratio: Callable[[dict, dict], float]) -> dict:
    """Median, smallest and largest ratio over the pairs."""
    values = [ratio(ours, mmseg) for ours, mmseg in pairs]
    return dict(median=statistics.median(values), lowest=min(values), highest=max(values))


def describe(pair: list[dict]) -> str:
    """One line of text for a pair."""
    return '   '.join(
        f'{turn["peer"]}: {turn["step_s"]:.2f} s ({turn["step_cpu_s"]:.2f} s of CPU time), '
        f'{turn["peak_mb"]:.0f} MB'
        for turn in pair
    )


def processor_name() -> str:
    """Model name of the processor."""
    info = Path('/proc/cpuinfo')
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(':')[1].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor()


def installed_version(module: str) -> str:
    """Version of a distribution, or of the fork that stands in for it."""
    for name in (module, f'onedl-{module}'):
        try:
            return f'{name} {version(name)}'
        except ImportError:  # PackageNotFoundError
            continue
    return 'unknown'


def main() -> None:
    """Run the tool."""
    args = parse_args()
    if args.child:
        run_child(args)
        return
    result = measure(args)
    for name in ('speedup', 'speedup_cpu_time', 'memory', 'memory_of_step'):
        spread = result[name]
        print(f'{name}: {spread["median"]:.2f} ({spread["lowest"]:.2f}–{spread["highest"]:.2f})')
    print(f'largest difference of features: {result["largest_feature_difference"]:.1e}')
    print(', '.join(f'{key}: {value}' for key, value in result['machine'].items()))
    if args.json:
        Path(args.json).write_text(json.dumps(result, indent=2) + '\n')


if __name__ == '__main__':
    main()

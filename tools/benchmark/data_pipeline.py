"""Compare our data pipelines with mmpretrain's, on one core, from the same files.

    python tools/benchmark/data_pipeline.py --pairs 10 --json work_dirs/result.json

Both pipelines of a kind take turns of some images each, so that a busy machine slows both. Reported
is the ratio of every pair of turns, theirs over ours, of the processor's time. The photos are those
of the demo, cropped and resized to the sizes that ImageNet's and larger ones have. The peers are in
data_peers.py.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'

import cv2
import data_peers as peers
import mmpretrain.datasets  # noqa: F401  registers their transforms
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from paired import machine, shown, spread, write
from PIL import Image, ImageOps

from mmbeitv2.datasets import SampleIndex
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.user_errors import one_line_errors

PHOTOS = Path(__file__).parents[2] / 'demo/assets/backgrounds'
FINE_TUNING = 'mmbeitv2::finetune/beitv2_vit-b16_300e_in1k-224.py'
# Ours: config and the name of its pipeline; and the peer.
KINDS = {
    'pretraining': ('mmbeitv2::beitv2_vit-b16_300e.py', 'train_pipeline', peers.PRETRAINING),
    'fine-tuning': (FINE_TUNING, 'train_pipeline', peers.FINE_TUNING),
    'linear probe': (
        'mmbeitv2::linear_probe/beitv2_vit-b16_300e_cls.py',
        'train_pipeline',
        peers.LINEAR_PROBE,
    ),
    'validation': (FINE_TUNING, 'val_pipeline', peers.VALIDATION),
    'VQ-KD validation': (
        'mmbeitv2::vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py',
        'val_pipeline',
        peers.UNLABELLED_VALIDATION,
    ),
}
SIZES = ((500, 375), (1500, 1000))
JPEG_QUALITY = 90


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    result = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    result.add_argument('--pairs', type=int, default=10, help='turns of each pipeline and size')
    result.add_argument('--images', type=int, default=64, help='images a turn')
    result.add_argument(
        '--only', action='append', choices=list(KINDS), help='compare this kind; may be repeated'
    )
    result.add_argument('--json', metavar='FILE', help='write all measurements to this file')
    return result.parse_args(argv)


def write_photos(folder: Path, size: tuple[int, int]) -> list[str]:
    """Write the demo's background photos as JPEG files of one size (width, height)."""
    paths = []
    for source in sorted(PHOTOS.glob('*/*.jpg')):
        with Image.open(source) as photo:
            fitted = ImageOps.fit(photo.convert('RGB'), size, Image.Resampling.BICUBIC)
        path = folder / f'{size[0]}x{size[1]}_{source.name}'
        fitted.save(path, quality=JPEG_QUALITY)
        paths.append(str(path))
    return paths


def turn(pipeline: Callable[[dict], dict], paths: Sequence[str], epoch: int, images: int) -> dict:
    """Seconds of the processor and of the clock for each of some images."""
    wall, cpu = time.perf_counter(), time.process_time()
    for index in range(images):
        pipeline(
            dict(
                img_path=paths[index % len(paths)],
                sample_idx=SampleIndex(index, seed=0, epoch=epoch),
            )
        )
    return dict(
        image_cpu_s=(time.process_time() - cpu) / images,
        image_s=(time.perf_counter() - wall) / images,
    )


def measure(args: argparse.Namespace) -> dict:
    """Run all turns; return measurements, ratios and the machine."""
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            paths = write_photos(Path(folder), size)
            sizes['{}x{}'.format(*size)] = {
                kind: compare(kind, paths, args) for kind in args.only or KINDS
            }
    facts = machine('cpu')
    facts.update({name: version(name) for name in ('torchvision', 'Pillow', 'opencv-python')})
    return dict(images=args.images, sizes=sizes, machine=facts)


def compare(kind: str, paths: Sequence[str], args: argparse.Namespace) -> dict:
    """Let both pipelines of a kind read the same photos in turns."""
    config, name, theirs = KINDS[kind]
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        sides = dict(ours=Compose(load_config(config)[name]), theirs=Compose(theirs))
    for pipeline in sides.values():
        turn(pipeline, paths, epoch=0, images=len(paths))
    pairs = []
    for epoch in range(1, args.pairs + 1):
        # The other way round every time, since the first of a pair may find a warmer processor.
        order = list(sides)[:: 1 if epoch % 2 == 0 else -1]
        pairs.append({side: turn(sides[side], paths, epoch, args.images) for side in order})
    return dict(
        speedup=ratios(pairs, 'image_cpu_s'),
        speedup_of_clock=ratios(pairs, 'image_s'),
        images_per_s={
            side: spread([1 / pair[side]['image_cpu_s'] for pair in pairs]) for side in sides
        },
        pairs=pairs,
    )


def ratios(pairs: Sequence[dict], what: str) -> dict:
    """Median, smallest and largest ratio over the pairs."""
    return spread([pair['theirs'][what] / pair['ours'][what] for pair in pairs])


def print_table(result: dict) -> None:
    """Print ratios and images a second of every size and kind, and the machine."""
    print('By processor time, median (lowest–highest) of the pairs; images/s of one core.')
    print(
        f'{"photo":10}{"kind":18}{"times faster":>20}{"ours, images/s":>22}{"peer, images/s":>22}'
    )
    for size, kinds in result['sizes'].items():
        for kind, found in kinds.items():
            rates = ''.join(f'{whole(found["images_per_s"][s]):>22}' for s in ('ours', 'theirs'))
            print(f'{size:10}{kind:18}{shown(found["speedup"]):>20}{rates}')
    print(', '.join(f'{key} {value}' for key, value in result['machine'].items()))


def whole(rate: dict) -> str:
    """Median with the smallest and the largest, without decimals."""
    return '{median:.0f} ({lowest:.0f}–{highest:.0f})'.format(**rate)


def main() -> None:
    """Run the tool."""
    args = parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    result = measure(args)
    print_table(result)
    write(args.json, result)


if __name__ == '__main__':
    with one_line_errors():
        main()

"""Compare the data pipeline of pretraining with mmpretrain's, on one core, from the same files.

    python tools/benchmark/data_pipeline.py --pairs 10 --json result.json

Both pipelines take turns of some images each, so that a busy machine slows both. Reported is the
ratio of every pair of turns, theirs over ours, of the processor's time. The photos are those of the
demo, cropped and resized to the sizes that ImageNet's and larger ones have.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path

os.environ['OMP_NUM_THREADS'] = '1'

import cv2
import mmpretrain.datasets  # noqa: F401  registers their transforms
import torch
from mmengine.dataset import Compose
from mmengine.registry import DefaultScope
from paired import machine, shown, spread, write
from PIL import Image, ImageOps

from mmbeitv2.datasets import SampleIndex
from mmbeitv2.launch.config import load_config

PHOTOS = Path(__file__).parents[2] / 'demo/assets/backgrounds'
CONFIG = 'mmbeitv2::beitv2_vit-b16_300e.py'
SIZES = ((500, 375), (1500, 1000))
JPEG_QUALITY = 90
# configs/_base_/datasets/imagenet_bs256_beitv2.py of mmpretrain.
THEIRS = [
    dict(type='LoadImageFromFile'),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.0),
    dict(type='RandomFlip', prob=0.5, direction='horizontal'),
    dict(
        type='RandomResizedCropAndInterpolationWithTwoPic',
        size=224,
        second_size=224,
        interpolation='bicubic',
        second_interpolation='bicubic',
        scale=(0.2, 1.0),
    ),
    dict(
        type='BEiTMaskGenerator',
        input_size=(14, 14),
        num_masking_patches=75,
        max_num_patches=75,
        min_num_patches=16,
    ),
    dict(type='PackInputs'),
]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    result = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    result.add_argument('--pairs', type=int, default=10, help='turns of each pipeline and size')
    result.add_argument('--images', type=int, default=64, help='images a turn')
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
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        peers = dict(ours=Compose(load_config(CONFIG).train_pipeline), theirs=Compose(THEIRS))
    sizes = {}
    with tempfile.TemporaryDirectory() as folder:
        for size in SIZES:
            paths = write_photos(Path(folder), size)
            for pipeline in peers.values():
                turn(pipeline, paths, epoch=0, images=len(paths))
            pairs = [
                {name: turn(peer, paths, epoch, args.images) for name, peer in peers.items()}
                for epoch in range(1, args.pairs + 1)
            ]
            sizes['{}x{}'.format(*size)] = dict(
                speedup=ratios(pairs, 'image_cpu_s'),
                speedup_of_clock=ratios(pairs, 'image_s'),
                images_per_s={
                    name: 1 / statistics.median(pair[name]['image_cpu_s'] for pair in pairs)
                    for name in peers
                },
                pairs=pairs,
            )
    facts = machine('cpu')
    facts.update({name: version(name) for name in ('torchvision', 'Pillow', 'opencv-python')})
    return dict(images=args.images, sizes=sizes, machine=facts)


def ratios(pairs: Sequence[dict], what: str) -> dict:
    """Median, smallest and largest ratio over the pairs."""
    return spread([pair['theirs'][what] / pair['ours'][what] for pair in pairs])


def print_table(result: dict) -> None:
    """Print ratios and images a second of every size, and the machine."""
    print('photo     | speed-up (lowest–highest) | ours, images/s | mmpretrain, images/s')
    for size, found in result['sizes'].items():
        rate = found['images_per_s']
        ratio = shown(found['speedup'])
        print(f'{size:9} | {ratio:25} | {rate["ours"]:14.0f} | {rate["theirs"]:20.0f}')
    print(', '.join(f'{key} {value}' for key, value in result['machine'].items()))


def main() -> None:
    """Run the tool."""
    args = parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    result = measure(args)
    print_table(result)
    write(args.json, result)


if __name__ == '__main__':
    main()

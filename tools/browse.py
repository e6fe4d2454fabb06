"""What a run's model sees: ``python tools/browse.py CONFIG --out FILE.png``.

Draws samples of a config's data set after its pipeline: crops with augmentation, the patches that
pretraining hides in grey, the class, the mask of segmentation in colours. A row is a photo, a
column an epoch; the samples are those that a run of this seed gets. The hosts' browse_dataset tools
index data sets without seed and epoch, on which the randomness of these pipelines depends.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
from mmengine.config import Config
from mmengine.registry import DATASETS, init_default_scope

from mmbeitv2.checkpoints.atomic import check_writable
from mmbeitv2.datasets import SampleIndex
from mmbeitv2.errors import InputError
from mmbeitv2.launch import preflight
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.options import ConfigOptions
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.visualization.photo_grid import draw_pictures
from mmbeitv2.visualization.samples import draw_sample
from mmbeitv2.visualization.style import evenly_spaced

MOST = 100


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', help="config file, or 'mmbeitv2::NAME.py'")
    parser.add_argument('--out', type=Path, required=True, metavar='FILE.png')
    parser.add_argument('--phase', choices=['train', 'val', 'test'], default='train')
    parser.add_argument('--photos', type=int, default=6, metavar='N', help='at equal distances')
    parser.add_argument('--epochs', type=int, default=4, metavar='N', help='samples of each photo')
    parser.add_argument('--seed', type=int, default=0, help='of the run')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE')
    return parser.parse_args(argv)


def is_bgr(cfg: Config) -> bool:
    """Whether pipelines give BGR, which the config's data preprocessor turns into RGB."""
    settings = [cfg.get('data_preprocessor'), cfg.model.get('data_preprocessor')]
    return any(s and (s.get('to_rgb') or s.get('bgr_to_rgb')) for s in settings)


def samples(cfg: Config, args: argparse.Namespace) -> Iterator[tuple[np.ndarray, str]]:
    """Picture and title of each sample, photo by photo."""
    init_default_scope(cfg.get('default_scope', 'mmengine'))
    dataset = DATASETS.build(cfg[f'{args.phase}_dataloader'].dataset)
    meta = dataset.metainfo
    for index in evenly_spaced(range(len(dataset)), args.photos):
        for epoch in range(args.epochs):
            item = dataset[SampleIndex(index, args.seed, epoch)]
            yield draw_sample(
                item['inputs'],
                item['data_samples'],
                is_bgr(cfg),
                meta.get('classes'),
                meta.get('palette'),
            )


def browse(args: argparse.Namespace) -> None:
    """Draw as the command line asks."""
    if args.out.suffix != '.png':
        raise InputError(f'--out is {args.out}, but must end in .png')
    check_writable(args.out)
    for name in ('photos', 'epochs'):
        if not 1 <= getattr(args, name) <= MOST:
            raise InputError(f'--{name} is {getattr(args, name)}, but must be from 1 to {MOST}')
    cfg = load_config(args.config, args.cfg_options)
    if not cfg.get(f'{args.phase}_dataloader') or not cfg.get('model'):
        raise InputError(f'{args.config} has no model or no {args.phase}_dataloader')
    preflight.check_data(cfg, (args.phase,))
    drawn = list(samples(cfg, args))
    draw_pictures([p for p, _ in drawn], [title for _, title in drawn], args.out, args.epochs)
    print(f'{len(drawn)} samples of {args.phase} in {args.out}')


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        browse(args)


if __name__ == '__main__':
    main()

"""Check segmentation data: ``python tools/check_segmentation_data.py CONFIG``.

Every image and mask of the config's data sets is read: files that lack their counterpart, masks of
another size than their image, values outside the classes, another number of classes than the
model's, another number of images than ADE20K's.
"""

import argparse
import functools
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmbeitv2.datasets.segmentation import check_pair
from mmbeitv2.launch import preflight
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.options import ConfigOptions
from mmbeitv2.launch.user_errors import one_line_errors

# Images of the scene parsing benchmark, by the folder's last name.
ADE20K_IMAGES = {'training': 20210, 'validation': 2000}


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Check the data of a segmentation config')
    parser.add_argument('config', help="config file, or 'mmbeitv2::NAME.py'")
    parser.add_argument(
        '--phases', nargs='+', choices=['train', 'val', 'test'], default=['train', 'val']
    )
    parser.add_argument('--workers', type=int, default=4, help='processes that read files')
    parser.add_argument('--cfg-options', nargs='+', action=ConfigOptions, metavar='KEY=VALUE')
    return parser.parse_args(argv)


def check_phase(cfg: Config, phase: str, workers: int) -> list[str]:
    """Check one data set and print what it holds.

    Args:
        cfg: the config, its default scope set.
        phase: ``'train'``, ``'val'`` or ``'test'``.
        workers: processes that read files.

    Returns:
        One line for each error.
    """
    from mmseg.registry import DATASETS

    dataset = DATASETS.build({**cfg[f'{phase}_dataloader'].dataset, 'pipeline': []})
    images = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    folder = dataset.data_prefix['img_path']
    if not images:
        return [f'{folder} has no *{dataset.img_suffix} image: put the images there.']
    masks = [dataset.get_data_info(i)['seg_map_path'] for i in range(len(dataset))]
    names = dataset.METAINFO.get('classes') or dataset.metainfo['classes']
    check = functools.partial(
        check_pair, num_classes=len(names), reduce_zero_label=dataset.reduce_zero_label
    )
    with ProcessPoolExecutor(workers) as pool:
        found = list(pool.map(check, images, masks, chunksize=16))
    errors = [error for error, _ in found if error is not None]
    mask_folder = Path(dataset.data_prefix['seg_map_path'])
    unused = set(mask_folder.rglob(f'*{dataset.seg_map_suffix}')) - {Path(m) for m in masks}
    errors += [f'the mask {mask} has no image in {folder}.' for mask in sorted(unused)]
    expected = ADE20K_IMAGES.get(Path(folder).name)
    if type(dataset).__name__ == 'ADE20KDataset' and expected not in (None, len(images)):
        errors.append(
            f'{folder} has {len(images)} images, ADE20K has {expected}: unpack the archive '
            'ADEChallengeData2016.zip again.'
        )
    pixels = np.sum([counts for _, counts in found], axis=0)
    absent = [name for name, count in zip(names, pixels) if count == 0]
    print(f'{phase}: {len(images)} images in {folder}, {len(names)} classes')
    if absent:
        print(f'{phase}: without a single pixel: {", ".join(absent)}')
    return errors


def main() -> None:
    """Run the tool."""
    args = parse_args()
    with one_line_errors():
        cfg = load_config(args.config, args.cfg_options)
        preflight.check_data(cfg, args.phases)
    init_default_scope(cfg.get('default_scope', 'mmseg'))
    errors = [error for phase in args.phases for error in check_phase(cfg, phase, args.workers)]
    for error in errors[:20]:
        print(f'error: {error}')
    if errors:
        sys.exit(f'error: {len(errors)} in total, the first {min(len(errors), 20)} above')
    print('the data is complete and fits the classes')


if __name__ == '__main__':
    main()

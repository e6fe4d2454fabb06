"""Check segmentation data: ``python tools/check_segmentation_data.py CONFIG``.

Every image and mask of the config's data sets is read: files that lack their counterpart, masks of
another size than their image, values outside the classes, another number of classes than the
model's, another number of images than ADE20K's; and of one's own data, classes without a pixel in
training and masks without a labelled one. Files are read as training reads them.
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmbeitv2.datasets.segmentation_check import CheckedPair, absent_error, unlabelled_error
from mmbeitv2.launch import preflight
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.masks import MaskedImages
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
    data = MaskedImages(cfg[f'{phase}_dataloader'].dataset)
    dataset, images = data.dataset, data.images
    if not images:
        return [f'{data.folder} has no *{dataset.img_suffix} image: put the images there.']
    if len(data.masks) < len(images):
        return [f'the data set of {phase} names no masks (data_prefix.seg_map_path)']
    if workers == 1:
        pairs = data.check(map)
    else:
        with ProcessPoolExecutor(workers) as pool:
            pairs = data.check(partial(pool.map, chunksize=16))
    errors = [pair.error for pair in pairs if pair.error is not None]
    unused = set(Path(data.mask_folder).rglob(f'*{dataset.seg_map_suffix}'))
    unused -= {Path(mask) for mask in data.masks}
    errors += [f'the mask {mask} has no image in {data.folder}.' for mask in sorted(unused)]
    expected = ADE20K_IMAGES.get(Path(data.folder).name)
    if type(dataset).__name__ == 'ADE20KDataset' and expected not in (None, len(images)):
        errors.append(
            f'{data.folder} has {len(images)} images, ADE20K has {expected}: unpack the archive '
            'ADEChallengeData2016.zip again.'
        )
    print(f'{phase}: {len(images)} images in {data.folder}, {len(data.names)} classes')
    if turned := sum(pair.orientation != 1 for pair in pairs):
        print(
            f'{phase}: {turned} images have an EXIF orientation, which turns neither them nor '
            'their masks'
        )
    return errors + judge_masks(data, pairs, phase)


def judge_masks(data: MaskedImages, pairs: Sequence[CheckedPair], phase: str) -> list[str]:
    """What is wrong with the masks together; printed where it can be no mistake.

    Validation may lack classes. So may a part of a public data set, whose masks are as they are.
    """
    empty = unlabelled_error(data.masks, pairs)
    absent = absent_error(data.names, pairs, data.mask_folder)
    errors = [empty] if data.own else []
    errors += [absent] if data.own and phase == 'train' else []
    for remark in {empty, absent} - set(errors) - {None}:
        print(f'{phase}: {remark}')
    return [error for error in errors if error is not None]


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

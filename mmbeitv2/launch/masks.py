"""Checks of segmentation data: of one's own before training, of any by the check tool."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import DefaultScope

from mmbeitv2.datasets.segmentation_check import (
    CheckedPair,
    absent_error,
    check_pair,
    unlabelled_error,
)
from mmbeitv2.errors import InputError
from mmbeitv2.launch.loaders import cores_of_process
from mmbeitv2.registry import SCOPE, class_name

# Read before training, half a minute's worth on one slow core.
MOST_MASKS = 1000
CHECK_TOOL = 'tools/check_segmentation_data.py'


class MaskedImages:
    """The pairs of image and mask of a data set of mmsegmentation.

    Args:
        dataset: its config.
    """

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        # Optional: only segmentation needs mmsegmentation.
        import mmseg.datasets  # noqa: F401  registers its data sets
        from mmseg.registry import DATASETS

        # Before training nothing has set the config's scope yet.
        with DefaultScope.overwrite_default_scope('mmseg'):
            self.dataset = DATASETS.build({**dataset, 'pipeline': [], 'serialize_data': False})
        infos = [self.dataset.get_data_info(i) for i in range(len(self.dataset))]
        self.images = [info['img_path'] for info in infos]
        self.masks = [info['seg_map_path'] for info in infos if 'seg_map_path' in info]
        self.folder = self.dataset.data_prefix['img_path']
        self.mask_folder = self.dataset.data_prefix.get('seg_map_path')
        # Of the files: metainfo may choose some of a public data set's classes.
        declared = self.dataset.METAINFO.get('classes')
        self.names = declared or self.dataset.metainfo['classes']
        # A public data set holds its classes somewhere; a part of it need not hold all.
        self.own = declared is None
        loaders = list(_transforms(dataset.get('pipeline') or ()))
        ranges = [t['value_range'] for t in loaders if t.get('value_range')]
        self.value_range = ranges[0] if ranges else None
        self.turned = any(
            class_name(t['type']) == 'LoadImageFromFile'
            and t.get('_scope_') != SCOPE
            and 'ignore_orientation' not in t.get('color_type', '')
            for t in loaders
        )

    def check(
        self, mapped: Callable[..., Any], every: int = 1, whole: bool = True
    ) -> list[CheckedPair]:
        """Read pairs and check each.

        Args:
            mapped: ``map``, or that of a pool.
            every: of how many pairs one is read.
            whole: whether images are decoded too.
        """
        check = partial(
            check_pair,
            num_classes=len(self.names),
            reduce_zero_label=self.dataset.reduce_zero_label,
            turned=self.turned,
            whole=whole,
            value_range=self.value_range,
        )
        return list(mapped(check, self.images[::every], self.masks[::every]))


def _transforms(pipeline: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    for transform in pipeline:
        if isinstance(transform, Mapping):
            yield transform
            yield from _transforms(transform.get('transforms', ()))
        elif isinstance(transform, list | tuple):
            yield from _transforms(transform)


def check_masks(cfg: Config, phases: Sequence[str]) -> None:
    """Read masks of one's own data before training, at most ``MOST_MASKS`` of each data set.

    A public data set, whose classes its type declares, is left to the check tool: reading 20,000
    masks takes minutes.

    Args:
        cfg: the run's config.
        phases: whose data sets are read.

    Raises:
        ValueError: the first fault of a pair; masks without a labelled pixel; or a class that does
            not occur in all of the training data.
    """
    model = cfg.get('model') or {}
    if 'decode_head' not in model:
        return
    for phase in phases:
        dataset = (cfg.get(f'{phase}_dataloader') or {}).get('dataset') or {}
        declared = (dataset.get('metainfo') or {}).get('classes')
        local = '://' not in str(dataset.get('data_root')) and not dataset.get('backend_args')
        if declared is not None and local and 'data_prefix' in dataset:
            _check_own(MaskedImages(dataset), phase)


def _check_own(data: MaskedImages, phase: str) -> None:
    if not data.own or not data.images:
        if not data.images:
            raise InputError(
                f'{phase}_dataloader: {data.folder} has no *{data.dataset.img_suffix} image: put '
                'the images there, or set img_suffix of the dataset'
            )
        return
    if len(data.masks) < len(data.images):
        return
    every = -(-len(data.masks) // MOST_MASKS)
    with ThreadPoolExecutor(cores_of_process('none')) as pool:
        pairs = data.check(pool.map, every, whole=False)
    errors = [pair.error for pair in pairs if pair.error is not None]
    errors += filter(None, [unlabelled_error(data.masks[::every], pairs)])
    absent = absent_error(data.names, pairs, data.mask_folder) if phase == 'train' else None
    if every == 1:
        errors += filter(None, [absent])
    elif absent:
        print_log(
            f'one in {every} masks read: {absent} Read them all with `python {CHECK_TOOL} CONFIG`',
            logger='current',
        )
    if errors:
        more = f' ({len(errors)} such errors; `python {CHECK_TOOL} CONFIG` names all)'
        raise InputError(f'{phase}_dataloader: {errors[0]}' + more * (len(errors) > 1))

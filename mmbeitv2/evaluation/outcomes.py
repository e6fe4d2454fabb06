"""What a model got right on each photo, of every kind of figure, under the name of its metric."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mmbeitv2.errors import InputError
from mmbeitv2.evaluation.bootstrap import Outcomes
from mmbeitv2.evaluation.code_meaning import copied_right

IGNORED = 255
MASKED = 'masked_codes/acc_'


class PhotoOutcome(NamedTuple):
    """Of one photo: its name, what is right of what was asked by metric, and its masked codes."""

    photo: str
    figures: dict[str, tuple[np.ndarray, np.ndarray]]
    codes: np.ndarray | None = None


def outcome_of(sample: Mapping[str, Any], num_classes: int) -> PhotoOutcome:
    """What a model got right on a photo.

    Args:
        sample: a data sample as a dictionary, after prediction: with ``pred_sem_seg`` (mmseg), with
            ``masked_codes`` (pretraining), or with ``pred_label`` or ``pred_label_<feature>`` and
            ``gt_label`` (classifier, linear probe). ``img_path`` gives the photo's name.
        num_classes: of segmentation.

    Returns:
        Of the metrics ``mIoU``, ``masked_codes/acc_…``, ``accuracy/top1`` and ``probe/top1_…``
        those that the sample has.

    Raises:
        ValueError: the sample is none of these.
    """
    photo = '/'.join(Path(sample['img_path']).parts[-2:])
    if 'pred_sem_seg' in sample:
        found, truth = (sample[name]['data'] for name in ('pred_sem_seg', 'gt_sem_seg'))
        return PhotoOutcome(photo, {'mIoU': class_areas(found, truth, num_classes)})
    if 'masked_codes' in sample:
        return PhotoOutcome(photo, _codes(sample), sample['masked_codes'].cpu().numpy())
    # A probe has one for each of its features, and names the last of them again for the hosts.
    labels = {name: v for name, v in sample.items() if name.startswith('pred_label_')}
    if not labels and 'pred_label' in sample:
        labels = {'pred_label': sample['pred_label']}
    if not labels or 'gt_label' not in sample:
        raise InputError(
            f'{photo} has {", ".join(sample)} after prediction, allowed: classification with '
            'labels, segmentation with masks, or pretraining; take PhotoOutcomesHook out of the '
            'config of other runs.'
        )
    truth = int(sample['gt_label'])
    return PhotoOutcome(
        photo,
        {_label_metric(name): _share([int(v) == truth], 1) for name, v in labels.items()},
    )


def gather(photos: Sequence[PhotoOutcome]) -> dict[str, Outcomes]:
    """Outcomes of all photos by metric, the guess of the most frequent masked code among them.

    Args:
        photos: one or more, of the same metrics.
    """
    figures = {
        name: Outcomes(*(np.stack(side) for side in zip(*(p.figures[name] for p in photos))))
        for name in photos[0].figures
    }
    codes = [photo.codes for photo in photos if photo.codes is not None]
    if codes:
        frequent = np.bincount(np.concatenate(codes)).argmax()
        guesses = [_share(np.equal(c, frequent), len(c)) for c in codes]
        figures[f'{MASKED}majority'] = Outcomes(*(np.stack(side) for side in zip(*guesses)))
    return figures


def _label_metric(field: str) -> str:
    feature = field.removeprefix('pred_label')
    return f'probe/top1{feature}' if feature else 'accuracy/top1'


def _codes(sample: Mapping[str, Any]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    truth = sample['masked_codes']
    right = {
        name.removeprefix('pred_codes_'): value == truth
        for name, value in sample.items()
        if name.startswith('pred_codes_')
    }
    if 'codes' in sample:
        right['neighbour'] = copied_right(sample['codes'].cpu(), sample['mask'].cpu())
    return {f'{MASKED}{name}': _share(value, len(truth)) for name, value in right.items()}


def _share(right: Sequence[Any] | Tensor | np.ndarray, asked: int) -> tuple[np.ndarray, np.ndarray]:
    return np.array([float(sum(right))]), np.array([float(asked)])


def class_areas(found: Tensor, truth: Tensor, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Pixels of intersection and of union of every class, as mmsegmentation's ``IoUMetric``.

    Args:
        found: int64, class of each pixel.
        truth: the same shape, 255 where a pixel is not asked about.
        num_classes: K.

    Returns:
        float64 ``(K,)`` each.
    """
    labelled = truth != IGNORED
    found, truth = found[labelled].long().cpu(), truth[labelled].long().cpu()
    both, ours, theirs = (
        torch.bincount(labels, minlength=num_classes).double().numpy()
        for labels in (found[found == truth], found, truth)
    )
    return both, ours + theirs - both

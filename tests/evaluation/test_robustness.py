"""Robustness: only the classes of the data compete."""

import importlib.resources
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import Evaluator
from PIL import Image
from timm.data import ImageNetInfo

from mmbeitv2.evaluation import ImageNetSubsetAccuracy
from mmbeitv2.launch import preflight
from mmbeitv2.launch.config import load_config

ROOT = Path(__file__).resolve().parents[2]


def timm_list(name):
    return importlib.resources.files('timm.data').joinpath(f'_info/{name}').read_text().split()


def accuracy(classes, scores, labels, num_classes=None):
    evaluator = Evaluator([ImageNetSubsetAccuracy(num_classes or len(classes), topk=(1, 5))])
    evaluator.dataset_meta = dict(classes=tuple(classes))
    samples = [
        dict(pred_score=score, gt_label=torch.tensor([label]))
        for score, label in zip(scores, labels)
    ]
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


@pytest.mark.parametrize('variant', ['a', 'r'])
def test_classes_are_those_that_timm_lists(variant):
    metric = ImageNetSubsetAccuracy(num_classes=200)
    metric.dataset_meta = dict(classes=timm_list(f'imagenet_{variant}_synsets.txt'))
    expected = [int(index) for index in timm_list(f'imagenet_{variant}_indices.txt')]
    assert metric.class_indices.tolist() == expected


def test_scores_of_other_classes_do_not_count():
    synsets = ImageNetInfo().label_names()
    chosen = [10 * i + 3 for i in range(20)]
    scores = torch.zeros(2, 1000)
    scores[:, 0] = 0.9  # no class of the data
    scores[0, chosen[4]] = 0.05
    scores[1, chosen[5]] = 0.05
    found = accuracy([synsets[i] for i in chosen], scores, labels=[4, 4])
    assert found['accuracy/top1'] == 50


def test_numbered_folders_are_the_classes_of_their_numbers():
    """In the order of names, as labels are, 10 follows 1 and 2 stands behind 199."""
    folders = sorted(map(str, range(1000)))
    scores = torch.eye(1000)[[0, 2, 10, 999]]
    labels = [folders.index(str(i)) for i in (0, 2, 10, 999)]
    assert labels != [0, 2, 10, 999]
    assert accuracy(folders, scores, labels) == {'accuracy/top1': 100, 'accuracy/top5': 100}
    # 0 and 999 stand where they would by number.
    assert accuracy(folders, scores, [0, 2, 10, 999])['accuracy/top1'] == 50


def test_folders_of_the_classifiers_checkpoint_are_not_compared_with_numbers(tmp_path):
    """The run that fine-tuned notes synsets, which these folders do not have."""
    for folder in map(str, range(1000)):
        (tmp_path / 'data' / folder).mkdir(parents=True)
        Image.new('RGB', (8, 8)).save(tmp_path / 'data' / folder / 'a.png')
    meta = dict(dataset_meta=dict(classes=ImageNetInfo().label_names()))
    torch.save(dict(meta=meta, state_dict={}), tmp_path / 'run.pth')
    cfg = load_config(
        ROOT / 'configs/robustness/beitv2_vit-b16_imagenet-v2.py',
        {'test_dataloader.dataset.data_root': str(tmp_path / 'data')},
    )
    cfg.load_from = str(tmp_path / 'run.pth')
    preflight.check(cfg, phases=('test',))


@pytest.mark.parametrize('folder', ['1000', '007', '²'])
def test_numbers_of_no_class_are_refused(folder):
    folders = [*map(str, range(999)), folder]
    with pytest.raises(ValueError, match=f"'{folder}' is not an ImageNet class|such as n0149"):
        accuracy(folders, torch.rand(1, 1000), [0])


def test_incomplete_data_are_refused():
    synsets = timm_list('imagenet_a_synsets.txt')[:199]
    with pytest.raises(ValueError, match='has 199 class folders, expected 200'):
        accuracy(synsets, torch.rand(1, 1000), [0], num_classes=200)


def test_folders_of_other_data_are_refused():
    with pytest.raises(ValueError, match="'cat' is not an ImageNet class: set data_root"):
        accuracy(['cat', 'dog'], torch.rand(1, 1000), [0])


def test_another_classifier_is_refused():
    with pytest.raises(ValueError, match='the classifier has 8 classes'):
        accuracy(timm_list('imagenet_a_synsets.txt'), torch.rand(1, 8), [0])

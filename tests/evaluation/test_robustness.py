"""Robustness: only the classes of the data compete."""

import importlib.resources

import pytest
import torch
from mmengine.evaluator import Evaluator
from timm.data import ImageNetInfo

from mmbeitv2.evaluation import ImageNetSubsetAccuracy


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

"""ReaL: labels belong to photos by their numbers, and several may be right."""

import json

import numpy as np
import pytest
import torch
from mmengine.evaluator import Evaluator
from timm.data import RealLabelsImagenet

from mmbeitv2.errors import InputError, MissingFileError
from mmbeitv2.evaluation import ImageNetReaLAccuracy


def name(number):
    return f'data/val/n01440764/ILSVRC2012_val_{number:08d}.JPEG'


def accuracy(numbers, scores, **kwargs):
    evaluator = Evaluator([ImageNetReaLAccuracy(**kwargs)])
    samples = [dict(img_path=name(n), pred_score=score) for n, score in zip(numbers, scores)]
    evaluator.process(samples)
    return evaluator.evaluate(len(samples))


def test_is_what_timm_counts():
    generator = np.random.default_rng(0)
    numbers = generator.choice(np.arange(1, 50_001), 400, replace=False)
    scores = torch.rand(400, 1000, generator=torch.Generator().manual_seed(0))
    # Some are right: a label of the photo, or of the one behind it.
    labels = list(RealLabelsImagenet(range(50_000)).real_labels.values())
    for i, number in enumerate(numbers):
        for label in labels[(number - 1 + i % 2) % 50_000][:1]:
            scores[i, label] = 2.0
    files = [name(number) for number in numbers]
    theirs = RealLabelsImagenet(files + [''] * (50_000 - 400))
    theirs.add_result(scores)
    found = accuracy(numbers, scores)
    assert found == {f'accuracy/top{k}': pytest.approx(theirs.get_accuracy(k)) for k in (1, 5)}
    assert 30 < found['accuracy/top1'] < 80


@pytest.fixture
def labels(tmp_path):
    """real.json of five photos, the third without a label."""
    (tmp_path / 'real.json').write_text(json.dumps([[3], [3, 5], [], [999, 0], [7]]))
    return str(tmp_path / 'real.json')


def test_any_label_is_right_and_photos_without_do_not_count(labels):
    scores = torch.eye(1000)[[3, 5, 3, 1, 7]]
    # In another order: by their numbers all the same.
    order = [4, 2, 0, 3, 1]
    numbers = [i + 1 for i in order]
    assert accuracy(numbers, scores[order], labels=labels, topk=(1,)) == {'accuracy/top1': 75.0}


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{}', 'holds no labels of ReaL, allowed: a list'),
        ('[[1000]]', 'holds no labels of ReaL'),
        ('[["cat"]]', 'holds no labels of ReaL'),
        ('[[true]]', 'holds no labels of ReaL'),
        ('[3]', 'holds no labels of ReaL'),
        ('<html>', 'is no JSON file'),
    ],
)
def test_other_labels_are_refused(content, message, tmp_path):
    (tmp_path / 'real.json').write_text(content)
    with pytest.raises(InputError, match=message) as error:
        ImageNetReaLAccuracy(labels=str(tmp_path / 'real.json'))
    assert '\n' not in str(error.value)


def test_what_cannot_be_measured_is_refused(labels, tmp_path):
    with pytest.raises(MissingFileError, match='no labels at'):
        ImageNetReaLAccuracy(labels=str(tmp_path / 'none.json'))
    with pytest.raises(InputError, match='topk is'):
        ImageNetReaLAccuracy(topk=(0,))
    with pytest.raises(InputError, match='is not one of the 5 photos that have labels'):
        accuracy([6], torch.rand(1, 1000), labels=labels)
    with pytest.raises(InputError, match='the classifier has 8 classes'):
        accuracy([1], torch.rand(1, 8), labels=labels)
    with pytest.raises(InputError, match='none of the 1 photos has a label'):
        accuracy([3], torch.rand(1, 1000), labels=labels)

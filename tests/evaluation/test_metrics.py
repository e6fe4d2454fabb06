"""Metrics on numbers small enough to check by hand."""

import math

import pytest
import torch

from mmbeitv2.evaluation import LinearProbeMetric, MaskedCodeMetric, TokenizerMetric
from mmbeitv2.evaluation.metrics import normalized_mutual_information


def evaluate(metric, *batches):
    for batch in batches:
        metric.process({}, batch)
    return metric.evaluate(size=sum(len(batch) for batch in batches))


def test_tokenizer_metric_over_all_images():
    def image(codes, reconstruction, commitment):
        return dict(
            codes=torch.tensor(codes),
            reconstruction_loss=torch.tensor(reconstruction),
            commitment_loss=torch.tensor(commitment),
        )

    found = evaluate(
        TokenizerMetric(num_codes=8),
        [image([[0, 0], [1, 1]], 0.5, 0.1)],
        [image([[1, 1], [0, 0]], 0.3, 0.3), image([[0, 1], [2, 3]], 0.1, 0.2)],
    )
    assert found['tokenizer/reconstruction'] == pytest.approx(0.3)
    assert found['tokenizer/commitment'] == pytest.approx(0.2)
    assert found['tokenizer/codebook_usage'] == pytest.approx(4 / 8)
    share = [5 / 12, 5 / 12, 1 / 12, 1 / 12]
    entropy = -sum(p * math.log(p) for p in share)
    assert found['tokenizer/codebook_perplexity'] == pytest.approx(math.exp(entropy))


def test_masked_code_metric_beside_the_majority():
    def image(codes, mim, cls):
        return dict(
            masked_codes=torch.tensor(codes),
            pred_codes_mim=torch.tensor(mim),
            pred_codes_cls=torch.tensor(cls),
            mask=torch.ones(2, 2),
        )

    found = evaluate(
        MaskedCodeMetric(),
        [image([5, 5], [5, 1], [0, 0])],
        [image([5, 2], [5, 2], [5, 0])],
    )
    assert found == {
        'masked_codes/acc_majority': 0.75,
        'masked_codes/acc_mim': 0.75,
        'masked_codes/acc_cls': 0.25,
    }


def test_masked_code_metric_without_aggregation():
    found = evaluate(
        MaskedCodeMetric(),
        [dict(masked_codes=torch.tensor([1, 2]), pred_codes_mim=torch.tensor([1, 1]))],
    )
    assert set(found) == {'masked_codes/acc_majority', 'masked_codes/acc_mim'}


def test_masked_code_metric_beside_a_copy_of_the_neighbour():
    """Left and middle column are visible; the right one has the middle's codes once in two."""
    sample = dict(
        masked_codes=torch.tensor([4, 5]),
        pred_codes_mim=torch.tensor([1, 1]),
        codes=torch.tensor([[9, 4, 4], [9, 4, 5]]),
        mask=torch.tensor([[False, False, True], [False, False, True]]),
    )
    assert evaluate(MaskedCodeMetric(), [sample])['masked_codes/acc_neighbour'] == 0.5


def test_linear_probe_metric_of_every_feature():
    def image(label, cls, avg):
        return dict(
            gt_label=torch.tensor([label]),
            pred_label_cls=torch.tensor(cls),
            pred_label_avg=torch.tensor(avg),
        )

    found = evaluate(
        LinearProbeMetric(), [image(0, 0, 1), image(1, 1, 1)], [image(2, 0, 1), image(2, 2, 0)]
    )
    assert found == {'probe/top1_cls': 0.75, 'probe/top1_avg': 0.25}


def test_metrics_take_what_the_models_predict(vqkd, beitv2, images, masked_samples):
    """Through mmengine's evaluator, which turns data samples into dictionaries."""
    from mmengine.evaluator import Evaluator

    tokenizer = Evaluator(dict(type='mmbeitv2.TokenizerMetric', num_codes=64))
    with torch.no_grad():
        tokenizer.process(vqkd.eval()(images, mode='predict'))
    assert 0 < tokenizer.evaluate(2)['tokenizer/codebook_usage'] <= 1
    pretraining = Evaluator(dict(type='mmbeitv2.MaskedCodeMetric'))
    samples = beitv2.eval()([images, images], masked_samples, mode='predict')
    pretraining.process(samples)
    assert set(pretraining.evaluate(2)) == {
        'masked_codes/acc_majority',
        'masked_codes/acc_neighbour',
        'masked_codes/acc_mim',
        'masked_codes/acc_cls',
    }


class TestCodesAndClasses:
    """Normalised mutual information."""

    @pytest.mark.parametrize(
        ('codes', 'labels', 'expected'),
        [
            ([5, 5, 2, 2], [0, 0, 1, 1], 1.0),  # codes are classes
            ([0, 1, 0, 1], [0, 0, 1, 1], 0.0),  # codes know nothing of classes
            # I = H(class) = ln 2, H(code) = ln 4.
            ([0, 1, 2, 3], [0, 0, 1, 1], 2**-0.5),
            ([7, 7, 7, 7], [0, 0, 1, 1], 0.0),
            ([0, 1, 2, 3], [3, 3, 3, 3], 0.0),
        ],
    )
    def test_value(self, codes, labels, expected):
        found = normalized_mutual_information(torch.tensor(codes), torch.tensor(labels))
        assert found == pytest.approx(expected)

    def test_tokenizer_metric_gives_it_for_labelled_images(self):
        def image(codes, label):
            return dict(
                codes=torch.tensor(codes),
                reconstruction_loss=torch.tensor(0.5),
                commitment_loss=torch.tensor(0.1),
                gt_label=torch.tensor([label]),
            )

        batch = [image([[0, 0], [0, 0]], 2), image([[3, 3], [3, 3]], 1)]
        found = evaluate(TokenizerMetric(num_codes=4), batch)
        assert found['tokenizer/class_nmi'] == pytest.approx(1)

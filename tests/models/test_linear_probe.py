"""Linear probes: one independent classifier per feature."""

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmpretrain.structures import DataSample
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.testing import assert_close

from mmbeitv2.models import LinearProbeHead


def labelled(*labels):
    return [DataSample().set_gt_label(label) for label in labels]


@pytest.fixture
def head():
    return LinearProbeHead(in_channels=6, num_classes=3)


@pytest.fixture
def features():
    return ((torch.randn(4, 6), 100 + 50 * torch.randn(4, 6)),)


def test_one_loss_per_feature(head, features):
    losses = head.train().loss(features, labelled(0, 1, 2, 0))
    assert set(losses) == {'loss_cls', 'loss_avg'}


def test_classifiers_do_not_influence_one_another(head, features):
    head.train().loss(features, labelled(0, 1, 2, 0))['loss_avg'].backward()
    assert all(p.grad is None for p in head.classifiers['cls'].parameters())
    assert all(p.grad is not None for p in head.classifiers['avg'].parameters())


def test_features_are_standardised(head, features):
    cls_token, mean = features[0]
    head.train()
    assert_close(head(((cls_token, mean),)), head(((7 * cls_token - 3, mean),)), atol=1e-3, rtol=0)


def test_predictions_are_the_best_classes(head, features):
    samples = head.eval().predict(features, labelled(0, 1, 2, 0))
    logits = head(features)
    for name in ('cls', 'avg'):
        predicted = torch.stack([s.get(f'pred_label_{name}') for s in samples])
        assert torch.equal(predicted, logits[name].argmax(dim=1))


def test_labels_survive_half_precision_features():
    """bfloat16 cannot hold 257."""
    head = LinearProbeHead(in_channels=6, num_classes=1000)
    feature = torch.randn(2, 6)
    expected = head.eval().loss(((feature, feature),), labelled(257, 999))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        losses = head.loss(((feature.bfloat16(), feature.bfloat16()),), labelled(257, 999))
    for name, value in expected.items():
        assert_close(losses[name].float(), value, atol=0.02, rtol=0.02)


def test_label_outside_the_classes_is_refused(head, features):
    for label in (3, -1, -100):
        with pytest.raises(ValueError, match=rf'a label is {label}, allowed: 0 to 2'):
            head.loss(features, labelled(0, 1, 2, label))


@pytest.mark.needs_torch('2.14', 'tensors on a GPU that is not there')
def test_labels_on_a_gpu_are_read_in_the_first_batch_alone(head):
    with FakeTensorMode(), torch.device('cuda'):
        head = LinearProbeHead(in_channels=6, num_classes=3)
        features = ((torch.randn(4, 6), torch.randn(4, 6)),)
        samples = [DataSample(gt_label=torch.zeros(1, dtype=torch.int64)) for _ in range(4)]
        with pytest.raises(DataDependentOutputException):
            head.loss(features, samples)
        head._checked = True
        assert set(head.loss(features, samples)) == {'loss_cls', 'loss_avg'}


def test_layers_features_and_rates_are_probed_at_once(features):
    head = LinearProbeHead(6, 3, features=['avg'], layers=['layer1', 'layer2'], rates=['a', 'b'])
    first = (torch.randn(4, 6), torch.randn(4, 6))
    logits = head.eval()((first, features[0]))
    assert list(logits) == ['layer1_avg_a', 'layer1_avg_b', 'layer2_avg_a', 'layer2_avg_b']
    assert_close(logits['layer1_avg_b'], head.classifiers['layer1_avg_b'](first[1]))
    assert_close(logits['layer2_avg_a'], head.classifiers['layer2_avg_a'](features[0][1]))


def test_each_rate_is_the_optimisers(features):
    head = LinearProbeHead(6, 3, rates=['lr1e-3', 'lr1e-2'])
    wrapper = build_optim_wrapper(
        head,
        dict(
            optimizer=dict(type='SGD', lr=1e-3),
            paramwise_cfg=dict(
                custom_keys={'lr1e-3': dict(lr_mult=1.0), 'lr1e-2': dict(lr_mult=10.0)}
            ),
        ),
    )
    names = {id(p): n for n, p in head.named_parameters()}
    for group in wrapper.optimizer.param_groups:
        (parameter,) = group['params']
        assert group['lr'] == pytest.approx(1e-2 if 'lr1e-2' in names[id(parameter)] else 1e-3)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(features=['max']), r"features is \['max'\], allowed"),
        (dict(features=[]), r'features is \[\], allowed'),
        (dict(rates=['0.1']), r"name '0\.1' has a dot"),
    ],
)
def test_bad_probes_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LinearProbeHead(6, 3, **options)


def test_every_layer_needs_a_name(features):
    head = LinearProbeHead(6, 3, layers=['layer1', 'layer2'])
    with pytest.raises(ValueError, match='layers names 2 layers but the backbone gives 1'):
        head(features)

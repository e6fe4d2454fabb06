"""The classifier's logits are exact where the backbone computes in bfloat16."""

import mmpretrain.models
import pytest
import torch
from half_on_cpu import FLOAT16
from mmpretrain.structures import DataSample

from mmbeitv2.models import LinearClsHead, LinearProbeHead

LOSS = dict(type='mmpretrain.LabelSmoothLoss', label_smooth_val=0.1, mode='original')


@pytest.fixture
def heads():
    """Ours and mmpretrain's with the same weights, for a thousand classes."""
    ours = LinearClsHead(1000, 64, loss=LOSS)
    theirs = mmpretrain.models.LinearClsHead(1000, 64, loss=LOSS)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


@pytest.fixture
def feature():
    return (torch.randn(512, 64).bfloat16(),)


@pytest.fixture
def samples():
    """Soft labels, as mixup gives them."""
    return [DataSample().set_gt_score(torch.rand(1000).softmax(0)) for _ in range(512)]


def test_logits_loss_and_scores_are_float32_under_autocast(heads, feature, samples):
    ours, theirs = heads
    exact = tuple(f.float() for f in feature)
    with torch.autocast('cpu', torch.bfloat16):
        logits, loss = ours(feature), ours.loss(feature, samples)['loss']
    assert logits.dtype == loss.dtype == torch.float32
    assert torch.equal(logits, theirs(exact))
    assert torch.equal(loss, theirs.loss(exact, samples)['loss'])


def test_best_class_is_not_tied_with_another(heads, feature):
    ours, theirs = heads
    exact = theirs(tuple(f.float() for f in feature)).argmax(1)
    with torch.autocast('cpu', torch.bfloat16):
        found = torch.stack([s.pred_score for s in ours.predict(feature)]).argmax(1)
        rounded = theirs(feature).argmax(1)
    assert torch.equal(found, exact)
    # What it is for: the host's own head decides otherwise for some of these.
    assert not torch.equal(rounded, exact)


@pytest.mark.parametrize('dtype', [FLOAT16, torch.bfloat16, torch.float64])
def test_a_converted_model_stays_in_its_precision(heads, dtype):
    """As mmpretrain's head does: what ``model.half()`` makes, for instance."""
    ours, theirs = (head.to(dtype).eval() for head in heads)
    feature = (torch.randn(3, 64, dtype=dtype),)
    assert ours(feature).dtype == dtype
    assert torch.equal(ours(feature), theirs(feature))
    probe = LinearProbeHead(64, 10).to(dtype).eval()
    assert {logits.dtype for logits in probe((feature * 2,)).values()} == {dtype}

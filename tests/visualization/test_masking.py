import pytest
import torch
from PIL import Image

from mmbeitv2.visualization.masking import exemplars, mask_predictions, predict_masked


@pytest.fixture
def masks() -> torch.Tensor:
    masks = torch.zeros(2, 4, 4, dtype=torch.bool)
    masks[0, :2, 1:4] = True
    masks[1, 2:, 0:3] = True
    return masks


def test_predictions_lie_where_the_mask_is_and_truth_everywhere(model, photos, masks):
    result = predict_masked(model, photos[:2], masks)
    assert torch.equal(result.predicted >= 0, masks)
    assert ((result.codes >= 0) & (result.codes < 12)).all()
    assert not (result.right & ~masks).any()
    # The likeliest code is one of the five likeliest.
    assert not (result.right & ~result.in_top).any()


def test_model_that_always_says_the_true_code_of_one_image_is_right_there(model, photos, masks):
    truth = predict_masked(model, photos[:2], masks).codes
    code = int(truth[0][masks[0]].mode().values)
    with torch.no_grad():
        model.head.lm_head.weight.zero_()
        model.head.lm_head.bias.zero_()[code] = 9.0
    result = predict_masked(model, photos[:2], masks)
    assert (result.predicted[masks] == code).all()
    assert torch.equal(result.right, masks & (truth == code))


def test_hidden_pixels_do_not_reach_the_prediction(model, photos, masks):
    # At the model's own size, since resizing would spread the change to visible neighbours.
    plain = [photo.resize((64, 64), Image.Resampling.BICUBIC) for photo in photos[:2]]
    changed = [photo.copy() for photo in plain]
    changed[0].paste('white', (16, 0, 64, 32))
    assert torch.equal(
        predict_masked(model, plain, masks).predicted,
        predict_masked(model, changed, masks).predicted,
    )


def test_masks_of_another_grid_are_refused(model, photos):
    with pytest.raises(ValueError, match=r'expected \(2, 4, 4\)'):
        predict_masked(model, photos[:2], torch.zeros(2, 3, 3, dtype=torch.bool))


def test_every_occurring_code_has_an_exemplar(coded):
    assert set(exemplars(coded)) == set(coded.codes.unique().tolist())


@pytest.mark.parametrize('branch', ['mim', 'cls'])
def test_picture_is_written(model, photos, masks, coded, tmp_path, branch):
    path = tmp_path / 'masked.png'
    result = mask_predictions(model, photos[:2], masks, coded, path, branch)
    assert torch.equal(result.masks, masks)
    assert 10_000 < path.stat().st_size < 500_000

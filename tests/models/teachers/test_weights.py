"""A weight file is fitted to a network by name, else by order, and refused where neither fits."""

import pytest
import torch
from safetensors.torch import save_file

from mmbeitv2.models.teachers import TimmTeacher


def test_weights_of_another_naming_load_by_order(tiny_cnn, tmp_path, random_images):
    library, path = tiny_cnn
    renamed = {f'_{i}': v for i, v in enumerate(library.state_dict().values())}
    counters = [k.endswith('num_batches_tracked') for k in library.state_dict()]
    renamed = {k: v for (k, v), skip in zip(renamed.items(), counters) if not skip}
    torch.save(renamed, tmp_path / 'renamed.pth')
    images = random_images(64)
    by_order = TimmTeacher('test_efficientnet', str(tmp_path / 'renamed.pth'))
    assert torch.equal(by_order(images, 4), TimmTeacher('test_efficientnet', path)(images, 4))


def test_names_win_over_order(tiny_cnn, tmp_path, random_images):
    library, path = tiny_cnn
    save_file(dict(reversed(library.state_dict().items())), tmp_path / 'reversed.safetensors')
    images = random_images(64)
    by_name = TimmTeacher('test_efficientnet', str(tmp_path / 'reversed.safetensors'))
    assert torch.equal(by_name(images, 4), TimmTeacher('test_efficientnet', path)(images, 4))


def test_first_differing_tensor_is_named_with_both_shapes(tiny_cnn, tmp_path):
    renamed = {f'_{k}': v for k, v in tiny_cnn[0].state_dict().items()}
    renamed['_bn1.weight'] = torch.zeros(7)
    torch.save(renamed, tmp_path / 'bad.pth')
    with pytest.raises(
        ValueError, match=r"'bn1.weight' of shape \(24,\), the file '_bn1.weight' of shape \(7,"
    ):
        TimmTeacher('test_efficientnet', str(tmp_path / 'bad.pth'))


def test_shared_name_is_never_loaded_into_another_tensor(tiny_cnn, tmp_path):
    weights = dict(tiny_cnn[0].state_dict())
    swapped = {'bn1.weight': 'x', 'bn1.bias': 'bn1.weight'}
    torch.save({swapped.get(k, k): v for k, v in weights.items()}, tmp_path / 'swapped.pth')
    with pytest.raises(ValueError, match=r"first difference: the model has 'bn1.weight'"):
        TimmTeacher('test_efficientnet', str(tmp_path / 'swapped.pth'))


def test_missing_tensor_is_named(tiny_cnn, tmp_path):
    weights = dict(tiny_cnn[0].state_dict())
    del weights['classifier.bias']
    torch.save(weights, tmp_path / 'short.pth')
    with pytest.raises(ValueError, match=r"only the model has 'classifier.bias'"):
        TimmTeacher('test_efficientnet', str(tmp_path / 'short.pth'))

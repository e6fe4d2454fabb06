"""Small networks of the libraries with random weights in files, and no way to the network."""

import huggingface_hub
import pytest
import timm
import torch

from mmbeitv2.models.teachers import TimmTeacher


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('teachers')


@pytest.fixture(scope='module')
def tiny_vit(folder):
    """Library model and the file of its random weights."""
    model = timm.create_model('test_vit', num_classes=0).eval()
    torch.save(model.state_dict(), folder / 'vit.pth')
    return model, str(folder / 'vit.pth')


@pytest.fixture(scope='module')
def tiny_cnn(folder):
    """Library model and the file of its random weights."""
    model = timm.create_model('test_efficientnet').eval()
    torch.save(model.state_dict(), folder / 'cnn.pth')
    return model, str(folder / 'cnn.pth')


@pytest.fixture
def cnn_teacher(tiny_cnn):
    return TimmTeacher('test_efficientnet', tiny_cnn[1])


@pytest.fixture
def random_images():
    """Square images of a given side, float (batch, 3, size, size) in [−1, 1]."""

    def make(size, batch=2):
        return torch.rand(batch, 3, size, size) * 2 - 1

    return make

"""A ViT of timm fine-tuned like BEiT v2's backbone."""

import pytest
import timm
import torch
from torch.testing import assert_close

from mmbeitv2.models import TimmViT


@pytest.fixture
def weights(tmp_path):
    network = timm.create_model('test_vit')
    torch.save(network.state_dict(), tmp_path / 'vit.pth')
    return network, str(tmp_path / 'vit.pth')


def test_local_weights_are_loaded_and_patches_averaged(weights):
    network, path = weights
    model = TimmViT('test_vit.r160_in1k', checkpoint=path, img_size=160)
    model.init_weights()
    images = torch.randn(2, 3, 160, 160)
    (feature,) = model.eval()(images)
    tokens = network.eval()
    tokens.norm = torch.nn.Identity()
    mean = tokens.forward_features(images)[:, 1:].mean(dim=1)
    assert_close(feature, torch.nn.functional.layer_norm(mean, mean.shape[1:], eps=1e-6))


def test_depths_are_those_of_layer_decay():
    model = TimmViT('test_vit', pretrained=False, img_size=160)
    depth = len(model.network.blocks)
    found = {
        name: model.get_layer_depth(f'backbone.{name}', 'backbone.')
        for name, _ in model.named_parameters()
    }
    assert found['network.cls_token'] == found['network.pos_embed'] == (0, depth + 2)
    assert found['network.blocks.0.attn.qkv.weight'] == (1, depth + 2)
    assert found['network.fc_norm.weight'] == (depth + 1, depth + 2)
    assert model.get_layer_depth('head.fc.weight', 'backbone.') == (depth + 1, depth + 2)


def test_other_networks_are_refused():
    with pytest.raises(ValueError, match="'resnet18' is not a plain ViT"):
        TimmViT('resnet18')


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no weight file at .*none\.pth'):
        TimmViT('test_vit', checkpoint=str(tmp_path / 'none.pth'))

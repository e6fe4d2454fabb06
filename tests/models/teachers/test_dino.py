"""The DINO teacher: a plain ViT of timm, also from the official training's file."""

import pytest
import torch

from mmbeitv2.models.teachers import DINOTeacher


def test_takes_images_of_another_size(tiny_vit, random_images):
    assert DINOTeacher('test_vit', tiny_vit[1])(random_images(96), 6).shape == (2, 36, 64)


def test_official_teacher_layout_loads(tiny_vit, tmp_path, random_images):
    library, path = tiny_vit
    weights = {f'module.backbone.{k}': v for k, v in library.state_dict().items()}
    weights['module.head.mlp.0.weight'] = torch.zeros(3, 3)
    torch.save({'teacher': weights, 'epoch': 3}, tmp_path / 'dino.pth')
    images = random_images(160)
    official = DINOTeacher('test_vit', str(tmp_path / 'dino.pth'))
    assert torch.equal(official(images, 10), DINOTeacher('test_vit', path)(images, 10))


def test_other_network_is_refused():
    with pytest.raises(ValueError, match="'resnet18' is not a plain ViT"):
        DINOTeacher('resnet18')

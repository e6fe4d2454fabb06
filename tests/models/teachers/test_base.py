"""Every teacher: weights that never change, checked images, features on the student's grid."""

import pytest
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict
from torch import nn

from mmbeitv2.models.teachers import TimmTeacher, resample_grid
from mmbeitv2.registry import MODELS


class TestFrozen:
    @pytest.fixture
    def parent(self, cnn_teacher):
        parent = nn.Module()
        parent.head = nn.Linear(2, 2)
        parent.teacher = cnn_teacher
        return parent

    def test_training_the_parent_changes_nothing(self, parent, random_images):
        before = {k: v.clone() for k, v in parent.teacher.model.state_dict().items()}
        images = random_images(64)
        first = parent.teacher(images, 4)
        parent.train()
        parent.apply(lambda module: [p.data.zero_() for p in module.parameters(recurse=False)])
        assert torch.equal(parent.teacher(images, 4), first)
        assert not any(module.training for module in parent.teacher.model.modules())
        assert all(torch.equal(v, before[k]) for k, v in parent.teacher.model.state_dict().items())

    def test_nothing_requires_a_gradient(self, parent, random_images):
        images = random_images(64).requires_grad_()
        assert not parent.teacher(images, 4).requires_grad
        assert not any(p.requires_grad for p in parent.teacher.model.parameters())

    def test_only_the_parents_own_weights_are_parameters_and_buffers(self, parent):
        assert [name for name, _ in parent.named_parameters()] == ['head.weight', 'head.bias']
        assert not list(parent.named_buffers())

    def test_is_not_in_checkpoints_and_not_missing_from_them(self, parent, tmp_path):
        assert set(parent.state_dict()) == {'head.weight', 'head.bias'}
        assert set(get_state_dict(parent)) == {'head.weight', 'head.bias'}
        parent.load_state_dict(parent.state_dict(), strict=True)
        save_checkpoint({'state_dict': get_state_dict(parent)}, str(tmp_path / 'parent.pth'))
        load_checkpoint(parent, str(tmp_path / 'parent.pth'), strict=True)

    def test_stays_float32_in_a_parent_of_lower_precision(self, parent, random_images):
        images = random_images(64)
        first = parent.teacher(images, 4)
        parent.bfloat16()
        assert torch.equal(parent.teacher(images, 4), first)

    def test_gives_float32_under_autocast(self, cnn_teacher, random_images):
        with torch.autocast('cpu', dtype=torch.bfloat16):
            assert cnn_teacher(random_images(64), 4).dtype == torch.float32

    def test_builds_from_the_registry(self, tiny_cnn):
        config = {
            'type': 'mmbeitv2.TimmTeacher',
            'model': 'test_efficientnet',
            'checkpoint': tiny_cnn[1],
        }
        assert isinstance(MODELS.build(config), TimmTeacher)


class TestImages:
    @pytest.mark.parametrize(
        'images',
        [torch.zeros(3, 64, 64), torch.zeros(1, 1, 64, 64), torch.zeros(1, 3, 64, 64).byte()],
        ids=['no batch', 'grey', 'uint8'],
    )
    def test_other_shapes_and_types_are_refused(self, cnn_teacher, images):
        with pytest.raises(ValueError, match=r'floating RGB of shape \(B, 3, H, W\)'):
            cnn_teacher(images, 4)

    @pytest.mark.parametrize('value', [255.0, -2.1, float('nan')])
    def test_other_ranges_are_refused(self, cnn_teacher, value):
        with pytest.raises(ValueError, match=r'mapped to \[-1, 1\]'):
            cnn_teacher(torch.full((1, 3, 64, 64), value), 4)


class TestResampleGrid:
    def test_same_grid_is_untouched(self):
        features = torch.randn(2, 5, 3, 4)
        assert resample_grid(features, (3, 4)) is features

    def test_halving_averages_with_antialiasing(self):
        ramp = torch.arange(8.0).expand(1, 1, 8, 8)
        halved = resample_grid(ramp, 4)
        assert halved.shape == (1, 1, 4, 4)
        # Away from the border a symmetric filter keeps a linear ramp.
        torch.testing.assert_close(halved[0, 0, 0, 1:3], torch.tensor([2.5, 4.5]))
        checkers = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).repeat(4, 4)[None, None]
        assert resample_grid(checkers, 4).abs().max() < 0.1

    def test_tokens_are_row_major_at_the_students_grid(self, cnn_teacher, random_images):
        images = random_images(64)
        feature_map = cnn_teacher.extract(cnn_teacher.normalize(images))
        resampled = resample_grid(feature_map, (3, 5))
        tokens = cnn_teacher(images, (3, 5))
        assert tokens.shape == (2, 15, cnn_teacher.embed_dim)
        assert torch.equal(tokens[:, 1 * 5 + 2], resampled[:, :, 1, 2])

    def test_empty_grid_is_refused(self):
        with pytest.raises(ValueError, match=r'grid_size=\(0, 4\) is not a grid'):
            resample_grid(torch.randn(1, 1, 2, 2), (0, 4))

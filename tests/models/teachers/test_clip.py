"""The CLIP teacher gives OpenCLIP's own projected patch tokens, from its files and tags."""

import json

import open_clip
import pytest
import torch
from torch import nn

from mmbeitv2.models.teachers import CLIPTeacher
from mmbeitv2.models.teachers.clip import needs_quick_gelu

MEAN, STD = (
    torch.tensor(v).view(1, 3, 1, 1)
    for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
)
TINY_CLIP = {
    'embed_dim': 24,
    'vision_cfg': {'image_size': 32, 'layers': 2, 'width': 64, 'head_width': 32, 'patch_size': 8},
    'text_cfg': {'context_length': 8, 'vocab_size': 64, 'width': 32, 'heads': 2, 'layers': 1},
}


@pytest.fixture(scope='module')
def tiny_clip(folder):
    """Library model and the file of its random weights; the name is ``tiny-clip``."""
    (folder / 'tiny-clip.json').write_text(json.dumps(TINY_CLIP))
    open_clip.add_model_config(folder / 'tiny-clip.json')
    model = open_clip.create_model('tiny-clip').eval()
    torch.save(model.state_dict(), folder / 'clip.pt')
    return model, str(folder / 'clip.pt')


def test_the_same_norm_and_projection_give_encode_image_on_the_class_token(tiny_clip):
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


def test_positions_of_another_size_are_open_clips(tiny_clip, random_images):
    _, path = tiny_clip
    images = random_images(48)
    resized = open_clip.create_model('tiny-clip', pretrained=path, force_image_size=48).eval()
    with torch.no_grad():
        pixels = ((images + 1) / 2 - MEAN) / STD
        resized.visual.output_tokens = True
        expected = resized.visual(pixels)[1] @ resized.visual.proj
    features = CLIPTeacher('tiny-clip', path)(images, (6, 6))
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-5)


def test_openai_tag_brings_quick_gelu():
    assert needs_quick_gelu('ViT-B-16', 'openai')
    assert not needs_quick_gelu('ViT-B-16', 'laion2b_s34b_b88k')


def test_missing_download_names_the_file_and_the_arguments():
    with pytest.raises(
        FileNotFoundError, match=r'place a copy of .*vit_base_patch16_clip'
    ) as error:
        CLIPTeacher()
    assert "model='ViT-B-16-quickgelu', pretrained='PATH/" in str(error.value)
    assert error.value.__cause__ is not None


def test_unknown_model_lists_close_names():
    with pytest.raises(ValueError, match=r"'ViT-B-17'; close names: .*ViT-B-16.*list_models"):
        CLIPTeacher('ViT-B-17')


def test_unknown_tag_lists_tags():
    with pytest.raises(ValueError, match=r"'opnai' is neither .* file nor a tag.*openai"):
        CLIPTeacher(pretrained='opnai')


def test_file_of_another_model_is_refused(tiny_clip, tiny_vit):
    with pytest.raises(ValueError, match=r'vit\.pth.* does not load into .*tiny-clip'):
        CLIPTeacher('tiny-clip', tiny_vit[1])


def test_torchscript_file_is_refused_with_the_conversion(tiny_clip, tmp_path):
    torch.jit.script(nn.Linear(1, 1)).save(tmp_path / 'jit.pt')
    with pytest.raises(ValueError, match=r'converted once.*load_openai_model'):
        CLIPTeacher('tiny-clip', str(tmp_path / 'jit.pt'))


def test_network_without_projected_tokens_is_refused(folder):
    config = TINY_CLIP | {'vision_cfg': {'image_size': 32, 'layers': [1, 1, 1, 1], 'width': 8}}
    (folder / 'tiny-rn.json').write_text(json.dumps(config))
    open_clip.add_model_config(folder / 'tiny-rn.json')
    torch.save(open_clip.create_model('tiny-rn').state_dict(), folder / 'rn.pt')
    with pytest.raises(ValueError, match=r"'tiny-rn' has no projected patch tokens"):
        CLIPTeacher('tiny-rn', str(folder / 'rn.pt'))


def test_image_that_does_not_divide_into_patches_is_refused(tiny_clip, random_images):
    with pytest.raises(ValueError, match=r'36×36 .* multiple of 8'):
        CLIPTeacher('tiny-clip', tiny_clip[1])(random_images(36), 4)

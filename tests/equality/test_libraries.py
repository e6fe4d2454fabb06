"""Same weights, same numbers as the libraries at hand, at the paper's sizes."""

import json
import re

import mmpretrain.models
import open_clip
import pytest
import timm
import torch
from torch import nn

from mmbeitv2.models import BEiTViT
from mmbeitv2.models.teachers import CLIPTeacher, DINOTeacher

pytestmark = pytest.mark.equality
# 384 pixels is the paper's larger fine-tuning size; positions are learned for the size at hand.
SIZES = pytest.mark.parametrize(
    ('arch', 'size'),
    [
        ('base', 224),
        pytest.param('base', 384, marks=pytest.mark.slow),
        pytest.param('large', 224, marks=pytest.mark.slow),
        pytest.param('large', 384, marks=pytest.mark.slow),
    ],
)


def build_classifier(arch, size, state):
    """Our backbone and head of one of the paper's sizes with given weights, by official name."""
    state = dict(state)
    # On the meta device: initial weights would only cost time.
    with torch.device('meta'):
        head = nn.Linear(*state['head.weight'].shape[::-1])
        backbone = BEiTViT(
            arch,
            img_size=size,
            init_values=0.1,
            use_abs_pos_emb=False,
            use_rel_pos_bias=True,
            final_norm='fc_norm',
            out_type='avg_featmap',
        )
    head_state = {name: state.pop(f'head.{name}') for name in ('weight', 'bias')}
    head.load_state_dict(head_state, assign=True)
    backbone.load_state_dict(state, assign=True)
    return backbone.eval(), head


def tokens_of(backbone, images):
    """Tokens after the last layer, float (B, 1 + N, C): all that pooling and head read."""
    x, grid = backbone.embed(images)
    return backbone.layers(x, grid)


@torch.no_grad()
@SIZES
def test_timm(arch, size, randomise, assert_equal_within):
    name = f'beitv2_{arch}_patch16_224'
    theirs = randomise(timm.create_model(name, img_size=size))
    backbone, head = build_classifier(arch, size, theirs.state_dict())
    images = torch.randn(2, 3, size, size)
    features, logits = tokens_of(backbone, images), head(backbone(images)[0])
    for fused, attention in ((True, 'fused attention'), (False, 'explicit softmax')):
        for block in theirs.blocks:
            block.attn.fused_attn = fused
        expected = theirs.forward_features(images)
        peer = f'timm {name}, {attention}'
        assert_equal_within(f'features at {size} pixels', peer, features, expected, rtol=1e-5)
        expected = theirs.forward_head(expected)
        assert_equal_within(f'logits at {size} pixels', peer, logits, expected, rtol=1e-5)


def official_name(name):
    """Official name of a parameter of mmpretrain's BEiTViT."""
    for pattern, replacement in (
        (r'^layers\.', 'blocks.'),
        (r'^patch_embed\.projection', 'patch_embed.proj'),
        (r'^ln2', 'fc_norm'),
        (r'\.ln(\d)', r'.norm\1'),
        (r'\.ffn\.layers\.0\.0', '.mlp.fc1'),
        (r'\.ffn\.layers\.1', '.mlp.fc2'),
    ):
        name = re.sub(pattern, replacement, name)
    return name


@torch.no_grad()
@SIZES
def test_mmpretrain(arch, size, randomise, mmpretrain_scope, assert_equal_within):
    theirs = randomise(mmpretrain.models.BEiTViT(arch, img_size=size))
    their_head = randomise(mmpretrain.models.LinearClsHead(1000, theirs.embed_dims))
    state = {
        official_name(name): value
        for name, value in theirs.state_dict().items()
        if not name.endswith('relative_position_index')
    }
    state.update({n.replace('fc.', 'head.'): v for n, v in their_head.state_dict().items()})
    backbone, head = build_classifier(arch, size, state)
    images = torch.randn(2, 3, size, size)
    peer = f'mmpretrain BEiTViT {arch}'
    logits, expected = head(backbone(images)[0]), their_head(theirs(images))
    assert_equal_within(f'logits at {size} pixels', peer, logits, expected, rtol=1e-5)
    theirs.out_type = 'raw'
    features, (expected,) = tokens_of(backbone, images), theirs(images)
    assert_equal_within(f'features at {size} pixels', peer, features, expected, rtol=1e-5)


@pytest.fixture
def photos():
    """Two images of the tokenizer's range, float (2, 3, 224, 224) in [−1, 1]."""
    return torch.rand(2, 3, 224, 224) * 2 - 1


def normalised(images, mean, std):
    """What a library takes: (pixel / 255 − mean) / std, from images in [−1, 1]."""
    mean, std = (torch.tensor(value).view(3, 1, 1) for value in (mean, std))
    return ((images + 1) / 2 - mean) / std


@torch.no_grad()
def test_dino_teacher(photos, randomise, tmp_path, assert_equal_within):
    library = randomise(timm.create_model('vit_base_patch16_224.dino', num_classes=0))
    torch.save(library.state_dict(), tmp_path / 'dino.pth')
    teacher = DINOTeacher(checkpoint=str(tmp_path / 'dino.pth'))
    pixels = normalised(photos, timm.data.IMAGENET_DEFAULT_MEAN, timm.data.IMAGENET_DEFAULT_STD)
    assert_equal_within(
        'DINO teacher, patch tokens',
        'timm vit_base_patch16_224.dino',
        teacher(photos, (14, 14)),
        library.forward_features(pixels)[:, 1:],
        rtol=1e-5,
    )


@torch.no_grad()
def test_clip_teacher(photos, randomise, tmp_path, assert_equal_within):
    # The image tower is the paper's teacher; the text tower, which no teacher reads, is small.
    config = open_clip.get_model_config('ViT-B-16-quickgelu')
    config['text_cfg'].update(width=64, heads=2, layers=1, vocab_size=64)
    (tmp_path / 'clip-b16.json').write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / 'clip-b16.json')
    library = randomise(open_clip.create_model('clip-b16'))
    torch.save(library.state_dict(), tmp_path / 'clip.pt')
    teacher = CLIPTeacher('clip-b16', str(tmp_path / 'clip.pt'))
    library.visual.output_tokens = True
    pixels = normalised(photos, open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    _, normed_tokens = library.visual(pixels)
    assert_equal_within(
        'CLIP teacher, projected patch tokens',
        'open_clip ViT-B-16-quickgelu',
        teacher(photos, (14, 14)),
        normed_tokens @ library.visual.proj,
        rtol=1e-5,
    )

"""A model built or called with what cannot be meant says so in one line, with the cure."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mmbeitv2.apis import tokenize
from mmbeitv2.errors import UserError
from mmbeitv2.models import (
    VQKD,
    BEiTV2,
    BEiTViT,
    CLIPTeacher,
    DINOTeacher,
    LinearClsHead,
    LinearProbeHead,
    MIMHead,
    NormEMAQuantizer,
    PatchAggregationNeck,
    TimmTeacher,
    TimmViT,
    VisionTransformer,
    VQKDTokenizer,
)
from mmbeitv2.models.teachers import FrozenTeacher, resample_grid
from mmbeitv2.registry import MODELS

WIDTH = 24
ARCH = dict(embed_dim=WIDTH, depth=2, num_heads=2)
VIT = dict(**ARCH, img_size=32)
QUANTIZER = dict(num_codes=8, code_dim=4, kmeans_init=False)


@MODELS.register_module()
class TeacherOfFaults(nn.Module):
    """As wide as a teacher, and nothing else."""

    embed_dim = 6


class Teacher(FrozenTeacher):
    """A network that is none."""

    def __init__(self, **kwargs):
        super().__init__(
            **{**dict(model=nn.Identity(), embed_dim=3, mean=127.5, std=127.5), **kwargs}
        )

    def extract(self, pixels):
        return pixels


def pretraining(**changes):
    parts = dict(
        backbone=dict(
            type='mmbeitv2.BEiTViT', arch=ARCH, img_size=32, use_mask_token=True,
            use_abs_pos_emb=False, use_shared_rel_pos_bias=True, out_type='raw',
        ),
        neck=dict(
            type='mmbeitv2.PatchAggregationNeck', embed_dim=WIDTH, num_heads=2, layer=1, depth=1
        ),
        head=dict(type='mmbeitv2.MIMHead', embed_dim=WIDTH, num_codes=8),
        target_generator=dict(type='mmbeitv2.VQKDTokenizer', encoder=VIT, quantizer=QUANTIZER),
    )  # fmt: skip
    for name, change in changes.items():
        parts[name] = {**parts[name], **change}
    return BEiTV2(**parts)


def vqkd(**changes):
    decoder = dict(embed_dim=WIDTH, depth=1, num_heads=2)
    teacher = dict(type='mmbeitv2.TeacherOfFaults')
    return VQKD(
        **{**dict(encoder=VIT, decoder=decoder, quantizer=QUANTIZER, teacher=teacher), **changes}
    )


# What to call, with which arguments, beside the right ones, and what the message must name.
MADE = [
    *((partial(VisionTransformer, **VIT), {name: value}, message) for name, value, message in [
        ('img_size', 0, 'img_size is 0'),
        ('img_size', '224', "img_size is '224'"),
        ('img_size', -32, 'img_size is -32'),
        ('img_size', 32.0, 'img_size is 32.0'),
        ('img_size', (32,), 'img_size is (32,)'),
        ('img_size', (32, 32, 3), 'img_size is (32, 32, 3)'),
        ('img_size', None, 'img_size is None'),
        ('img_size', True, 'img_size is True'),
        ('img_size', (32, 40), 'img_size (32, 40) must be a multiple of patch_size 16'),
        ('img_size', 8, 'img_size (8, 8) must be a multiple of patch_size 16'),
        ('patch_size', 0, 'patch_size is 0'),
        ('patch_size', (16, 16), 'patch_size is (16, 16)'),
        ('patch_size', 16.0, 'patch_size is 16.0'),
        ('in_chans', 0, 'in_chans is 0'),
        ('embed_dim', 0, 'embed_dim is 0'),
        ('embed_dim', '24', "embed_dim is '24'"),
        ('embed_dim', 25, 'embed_dim 25 must be a multiple of num_heads 2'),
        ('depth', 0, 'depth is 0'),
        ('depth', -1, 'depth is -1'),
        ('depth', 1.5, 'depth is 1.5'),
        ('depth', True, 'depth is True'),
        ('num_heads', 0, 'num_heads is 0'),
        ('num_heads', -2, 'num_heads is -2'),
        ('mlp_ratio', 0, 'mlp_ratio is 0'),
        ('mlp_ratio', -4.0, 'mlp_ratio is -4.0'),
        ('mlp_ratio', 0.01, 'mlp_ratio is 0.01'),
        ('mlp_ratio', '4', "mlp_ratio is '4'"),
        ('init_values', -0.1, 'init_values is -0.1'),
        ('init_values', 'small', "init_values is 'small'"),
        ('init_values', float('nan'), 'init_values is nan'),
        ('drop_path_rate', 2, 'drop_path_rate is 2'),
        ('drop_path_rate', -0.1, 'drop_path_rate is -0.1'),
        ('drop_path_rate', '0.1', "drop_path_rate is '0.1'"),
        ('drop_path_rate', None, 'drop_path_rate is None'),
        ('use_abs_pos_emb', 'False', "use_abs_pos_emb is 'False'"),
        ('use_rel_pos_bias', 2, 'use_rel_pos_bias is 2'),
        ('use_mask_token', None, 'use_mask_token is None'),
        ('with_cp', 'no', "with_cp is 'no'"),
        ('recompute', 'False', "recompute is 'False'"),
        ('final_norm', 'none', "final_norm is 'none'"),
        ('final_norm', ['norm'], "final_norm is ['norm']"),
        ('norm_eps', 0, 'norm_eps is 0'),
        ('norm_eps', '1e-6', "norm_eps is '1e-6'"),
        ('init_std', -1, 'init_std is -1'),
        ('init_cut', 0, 'init_cut is 0'),
    ]),
    *((partial(BEiTViT, **{**dict(arch=ARCH, img_size=32), **given}), {}, message)
      for given, message in [
        (dict(arch='huge'), "arch is 'huge'"),
        (dict(arch=12), 'arch is 12'),
        (dict(arch=['base']), "arch is ['base']"),
        (dict(arch=None), 'arch is None'),
        (dict(out_type='mean'), "out_type is 'mean'"),
        (dict(out_type=['raw']), "out_type is ['raw']"),
        (dict(out_indices=2), 'out_indices 2 reach outside the 2 layers'),
        (dict(out_indices=[0, -3]), 'out_indices [0, -3] reach outside'),
        (dict(out_indices='12'), "out_indices '12' reach outside"),
        (dict(out_indices=[1.0]), 'out_indices [1.0] reach outside'),
        (dict(out_indices=[]), 'out_indices [] reach outside'),
        (dict(out_indices=None), 'out_indices None reach outside'),
        (dict(frozen='False'), "frozen is 'False'"),
    ]),
    *((partial(NormEMAQuantizer, **QUANTIZER), {name: value}, f'{name} is {value!r}')
      for name, value in [
        ('num_codes', 'a'), ('num_codes', 1), ('num_codes', 0), ('num_codes', 8.0),
        ('num_codes', None), ('num_codes', True), ('code_dim', 0), ('code_dim', -4),
        ('code_dim', '4'), ('decay', 1), ('decay', 1.5), ('decay', -0.1), ('decay', '0.99'),
        ('beta', -1), ('beta', None), ('beta', float('inf')), ('kmeans_init', 'False'),
        ('revive_below', -0.5), ('revive_below', 'x'),
    ]),
    *((partial(MIMHead, WIDTH), {name: value}, f'{name} is {value!r}') for name, value in [
        ('num_codes', 'a'), ('num_codes', 1), ('num_codes', None), ('shared', 'no')]),
    (MIMHead, dict(embed_dim=0), 'embed_dim is 0'),
    *((partial(PatchAggregationNeck, WIDTH, num_heads=2), {name: value}, f'{name} is {value!r}')
      for name, value in [
        ('depth', 0), ('depth', '2'), ('layer', 0), ('layer', 1.5), ('drop_path', 2),
        ('drop_path', '0.1'), ('init_values', -1), ('mlp_ratio', 0), ('shared_norm', 'x'),
    ]),
    (PatchAggregationNeck, dict(embed_dim=WIDTH, num_heads=5), 'must be a multiple of num_heads 5'),
    (PatchAggregationNeck, dict(drop_path=[0.1]), 'drop_path has 1 values but the neck 2 layers'),
    (PatchAggregationNeck, dict(drop_path=[0.1, 2]), 'drop_path is 2'),
    *((partial(LinearProbeHead, **{**dict(in_channels=4, num_classes=3), **given}), {}, message)
      for given, message in [
        (dict(in_channels=0), 'in_channels is 0'),
        (dict(num_classes='3'), "num_classes is '3'"),
        (dict(features='cls'), "features is 'cls'"),
        (dict(features=[]), 'features is []'),
        (dict(features=['cls', 'cls']), "features is ['cls', 'cls']"),
        (dict(layers=[]), 'layers is []'),
        (dict(layers=[9]), 'layers is [9]'),
        (dict(rates='lr1'), "rates is 'lr1'"),
        (dict(rates=['a.b']), "the name 'a.b' has a dot"),
    ]),
    (LinearClsHead, dict(num_classes=0, in_channels=4), 'num_classes is 0'),
    (LinearClsHead, dict(num_classes=3, in_channels='4'), "in_channels is '4'"),
    (VQKDTokenizer, dict(encoder=None, quantizer=QUANTIZER), 'encoder is None'),
    (VQKDTokenizer, dict(encoder=VIT, quantizer=8), 'quantizer is 8'),
    (VQKDTokenizer, dict(encoder=VIT, quantizer=QUANTIZER, mixed_precision='half'), "'half'"),
    (VQKDTokenizer, dict(encoder=VIT, quantizer=QUANTIZER, mixed_precision=['float16']), 'float16'),
    (vqkd, dict(decoder=None), 'decoder is None'),
    (vqkd, dict(decoder=dict(depth=0)), 'depth is 0'),
    (vqkd, dict(quantizer=dict(num_codes='a')), "num_codes is 'a'"),
    (pretraining, dict(head=dict(num_codes=16)), 'predicts 16 codes but the tokenizer has 8'),
    (pretraining, dict(head=dict(embed_dim=32)), 'head takes tokens of width 32 but the backbone'),
    (pretraining, dict(neck=dict(embed_dim=32)), 'neck takes tokens of width 32 but the backbone'),
    (pretraining, dict(neck=dict(num_heads=3)), 'neck has 3 heads'),
    (pretraining, dict(neck=dict(layer=2)), 'layer 2, allowed: 1 to 1'),
    (pretraining, dict(backbone=dict(patch_size=8)), 'patch_size 8 but the tokenizer 16'),
    (pretraining, dict(backbone=dict(use_mask_token=False)), 'use_mask_token=True'),
    (TimmViT, dict(model='resnet50', pretrained=False), "model='resnet50' is not a plain ViT"),
    (TimmViT, dict(model=5, pretrained=False), 'model=5 is not a plain ViT'),
    (TimmViT, dict(model='vit_tiny_patch16_224', img_size=0), 'img_size is 0'),
    (TimmViT, dict(model='vit_tiny_patch16_224', drop_path_rate=2), 'drop_path_rate is 2'),
    (TimmViT, dict(model='vit_tiny_patch16_224', checkpoint='missing.pth'), 'missing.pth'),
    (Teacher, dict(image_size=0), 'image_size=0'),
    (Teacher, dict(image_size='224'), "image_size='224'"),
    (Teacher, dict(image_size=224.0), 'image_size=224.0'),
    (Teacher, dict(mean='grey'), "mean='grey'"),
    (Teacher, dict(mean=None), 'mean=None'),
    (Teacher, dict(mean=[1, 2]), 'mean=[1, 2]'),
    (Teacher, dict(mean=float('nan')), 'mean=nan'),
    (Teacher, dict(std=0), 'at least 1'),
    (Teacher, dict(std=[0.2, 0.2, 0.2]), 'in 0..255 units'),
    (CLIPTeacher, dict(model='ViT-B-17'), "unknown teacher model='ViT-B-17'"),
    (CLIPTeacher, dict(model=None), 'model=None'),
    (CLIPTeacher, dict(pretrained='nothing'), "pretrained='nothing'"),
    (CLIPTeacher, dict(pretrained=None), 'pretrained=None'),
    (CLIPTeacher, dict(pretrained=''), "pretrained=''"),
    (CLIPTeacher, dict(image_size=-1), 'image_size=-1'),
    (DINOTeacher, dict(model='resnet50'), "model='resnet50' is not a plain ViT"),
    (DINOTeacher, dict(model=3), 'model=3'),
    (DINOTeacher, dict(checkpoint=7), 'checkpoint is 7'),
    (TimmTeacher, dict(model='nothing'), "unknown teacher model='nothing'"),
    (TimmTeacher, dict(model=None), 'model=None'),
    (TimmTeacher, dict(image_size='224'), "image_size='224'"),
    (TimmTeacher, dict(model_args=[1]), 'model_args is [1]'),
]  # fmt: skip


def said(call, *args, **kwargs):
    """The one line that a call ends in."""
    with pytest.raises(UserError) as error:
        call(*args, **kwargs)
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ('make', 'arguments', 'message'), MADE, ids=[f'{i}: {case[2]}' for i, case in enumerate(MADE)]
)
def test_arguments_that_cannot_be_meant(make, arguments, message):
    assert message in said(make, **arguments)


IMAGES = torch.zeros(2, 3, 32, 32)
WRONG_IMAGES = [
    (IMAGES[0], '(3, 32, 32)'),
    (IMAGES[:, :1], '(2, 1, 32, 32)'),
    (IMAGES.byte(), 'uint8'),
    (IMAGES.long(), 'int64'),
    (IMAGES.permute(0, 2, 3, 1), '(2, 32, 32, 3)'),
    (IMAGES[..., :0], '(2, 3, 32, 0)'),
    (IMAGES.numpy(), 'ndarray'),
    (None, 'NoneType'),
]


@pytest.mark.parametrize(('images', 'message'), WRONG_IMAGES, ids=[m for _, m in WRONG_IMAGES])
@pytest.mark.parametrize('call', ['backbone', 'tokenizer', 'patch tokens'])
def test_images_of_another_shape_or_type(call, images, message):
    model = dict(
        backbone=lambda: BEiTViT(ARCH, img_size=32),
        tokenizer=lambda: VQKDTokenizer(VIT, QUANTIZER).tokenize,
    ).get(call, lambda: VisionTransformer(**VIT).patch_tokens)()
    line = said(model, images)
    assert message in line
    assert '(B, 3, H, W)' in line


@pytest.mark.parametrize(
    ('mask', 'message'),
    [
        (torch.zeros(2, 5, dtype=torch.bool), '(2, 5)'),
        (torch.zeros(2, 2, 2, dtype=torch.bool), '(2, 2, 2)'),
        (torch.zeros(1, 4, dtype=torch.bool), '(1, 4)'),
    ],
    ids=str,
)
def test_masks_that_do_not_fit_the_patches(mask, message):
    assert message in said(VisionTransformer(**VIT, use_mask_token=True).embed, IMAGES, mask)


def test_masks_without_a_mask_token():
    mask = torch.zeros(2, 4, dtype=torch.bool)
    assert 'set use_mask_token=True' in said(VisionTransformer(**VIT).embed, IMAGES, mask)


@pytest.mark.parametrize(
    'z', [torch.zeros(2, 5, 3, 3), torch.zeros(2, 4), torch.zeros(2, 4, 1, 1).int()], ids=str
)
def test_vectors_that_do_not_fit_the_codebook(z):
    assert 'allowed: float (B, 4, H, W)' in said(NormEMAQuantizer(**QUANTIZER), z)


@pytest.mark.parametrize('grid', [0, (4, 0), (4,), '4', 2.5, None, (2, 2, 2)], ids=repr)
def test_grids_that_are_none(grid):
    assert f'grid_size={grid!r} is not a grid' in said(resample_grid, torch.zeros(1, 3, 4, 4), grid)


@pytest.mark.parametrize(
    'images',
    [IMAGES[0], IMAGES.byte(), IMAGES[:0], IMAGES + 2, IMAGES / 0],
    ids=['no batch', 'uint8', 'empty', 'range', 'no numbers'],
)
def test_images_that_no_teacher_takes(images):
    assert '[-1, 1]' in said(Teacher(), images, 2)


@pytest.mark.parametrize('label', [-1, 3])
def test_labels_outside_the_classes(label):
    head = LinearProbeHead(4, 3)
    feats = ((torch.zeros(2, 4), torch.zeros(2, 4)),)
    samples = [SimpleNamespace(gt_label=torch.tensor([value])) for value in (0, label)]
    assert f'a label is {label}, allowed: 0 to 2' in said(head.loss, feats, samples)


def test_unknown_modes():
    assert "mode is 'train'" in said(vqkd(), IMAGES, mode='train')


def test_a_codebook_that_nobody_has_set():
    tokenizer = VQKDTokenizer(VIT, {**QUANTIZER, 'kmeans_init': True})
    assert 'the codebook is empty' in said(tokenize, tokenizer, IMAGES - 1)

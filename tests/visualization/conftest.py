from pathlib import Path

import pytest
import torch
from PIL import Image

from mmbeitv2.models import BEiTV2, VQKDTokenizer
from mmbeitv2.visualization.codes import encode_images

PHOTOS = Path(__file__).parents[2] / 'demo' / 'assets' / 'backgrounds' / 'train'
ENCODER = dict(img_size=64, patch_size=16, embed_dim=64, depth=1, num_heads=1)
QUANTIZER = dict(num_codes=12, code_dim=4, kmeans_init=False)


@pytest.fixture
def photos() -> list[Image.Image]:
    """Square crops of real photos."""
    crops = []
    for path in sorted(PHOTOS.glob('*.jpg'))[:3]:
        photo = Image.open(path).convert('RGB')
        side = min(photo.size) // 2
        crops += [
            photo.crop((x, y, x + side, y + side)).resize((80, 80))
            for x in (0, side // 2)
            for y in (0, side // 2)
        ]
    return crops


@pytest.fixture
def tokenizer() -> VQKDTokenizer:
    torch.manual_seed(0)
    return VQKDTokenizer(ENCODER, QUANTIZER)


@pytest.fixture
def coded(tokenizer, photos):
    return encode_images(tokenizer, photos)


@pytest.fixture
def model() -> BEiTV2:
    torch.manual_seed(0)
    return BEiTV2(
        backbone=dict(
            type='mmbeitv2.BEiTViT',
            arch=dict(embed_dim=64, depth=2, num_heads=1),
            img_size=64,
            use_mask_token=True,
            final_norm='norm',
        ),
        neck=dict(
            type='mmbeitv2.PatchAggregationNeck', embed_dim=64, num_heads=1, layer=1, depth=1
        ),
        head=dict(type='mmbeitv2.MIMHead', embed_dim=64, num_codes=12),
        target_generator=dict(type='mmbeitv2.VQKDTokenizer', encoder=ENCODER, quantizer=QUANTIZER),
    ).eval()

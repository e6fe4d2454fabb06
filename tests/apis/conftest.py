"""Small checkpoints of each kind, and photos on disk."""

import pytest
import torch
from photo_files import write_photo

from mmbeitv2.models import BEiTViT


@pytest.fixture
def pretrained_checkpoint(beitv2, tmp_path):
    torch.save(dict(state_dict=beitv2.state_dict()), tmp_path / 'pretrained.pth')
    return tmp_path / 'pretrained.pth'


@pytest.fixture
def tokenizer_checkpoint(vqkd, tmp_path):
    torch.save(vqkd.state_dict(), tmp_path / 'tokenizer.pth')
    return tmp_path / 'tokenizer.pth'


@pytest.fixture
def classifier_backbone():
    """A classifier's backbone: the mean of the patches has a norm, [CLS] has none."""
    backbone = BEiTViT(
        dict(embed_dim=48, depth=2, num_heads=4),
        img_size=64,
        out_type='avg_featmap',
        final_norm='fc_norm',
    )
    backbone.init_weights()
    return backbone.eval()


@pytest.fixture
def classifier_checkpoint(classifier_backbone, tmp_path):
    state = {f'backbone.{name}': value for name, value in classifier_backbone.state_dict().items()}
    state |= {'head.fc.weight': torch.zeros(3, 48), 'head.fc.bias': torch.zeros(3)}
    torch.save(dict(state_dict=state), tmp_path / 'classifier.pth')
    return tmp_path / 'classifier.pth'


@pytest.fixture
def photos(tmp_path):
    """A folder with five photos at two depths, and a file that is none."""
    folder = tmp_path / 'photos'
    for index, name in enumerate(['b.png', 'a/c.jpg', 'a/d.png', 'e.png', 'z.bmp']):
        write_photo(folder / name, seed=index, size=(80, 70))
    (folder / 'notes.txt').write_text('no photo')
    return folder

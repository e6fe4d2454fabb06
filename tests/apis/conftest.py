"""Small checkpoints of each kind, and photos on disk."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from photo_files import write_photo
from tiny_runs import write_project

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


@pytest.fixture
def fine_tuned(tmp_path):
    """Write config and checkpoint of a tiny fine-tuned model, as a run leaves them.

    Its weights are random, but large enough that photos differ in their classes.
    """

    def write(kind, num_classes, **dataset_meta):
        write_project(tmp_path, tmp_path / 'nowhere')
        cfg = Config.fromfile(tmp_path / f'{kind}.py')
        (tmp_path / kind).mkdir()
        cfg.dump(tmp_path / kind / 'config.py')
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            import mmbeitv2.models.segmentation_heads  # noqa: F401

            model = MODELS.build(cfg.model)
        if 'data_preprocessor' in cfg and kind == 'finetune':
            assert cfg.data_preprocessor.num_classes == num_classes
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        meta = dict(cfg=cfg.pretty_text, dataset_meta=dataset_meta)
        checkpoint = tmp_path / kind / 'epoch_3.pth'
        torch.save(dict(state_dict=model.state_dict(), meta=meta), checkpoint)
        return tmp_path / kind / 'config.py', checkpoint

    return write


@pytest.fixture
def classifier(fine_tuned):
    return fine_tuned('finetune', 8, classes=tuple('abcdefgh'))


@pytest.fixture
def segmenter(fine_tuned):
    palette = [[20 * i, 255 - 20 * i, 100] for i in range(9)]
    return fine_tuned('segment', 9, classes=tuple('abcdefghi'), palette=palette)

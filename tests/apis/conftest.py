"""Small checkpoints of each kind, and photos on disk."""

import functools
import shutil
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from photo_files import write_photo
from tiny_runs import write_project

from mmbeitv2.models import BEiTViT

ROOT = Path(__file__).resolve().parents[2]
DATASET_META = dict(
    finetune=dict(classes=tuple('abcdefgh')),
    segment=dict(
        classes=tuple('abcdefghi'), palette=[[20 * i, 255 - 20 * i, 100] for i in range(9)]
    ),
)


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


@pytest.fixture(scope='session')
def fine_tuned(tmp_path_factory):
    """Folder with config and checkpoint of a tiny fine-tuned model, as a run leaves them.

    Its weights are random, but large enough that photos differ in their classes.
    """
    folder = tmp_path_factory.mktemp('fine_tuned')
    write_project(folder, folder / 'nowhere')

    @functools.cache
    def write(kind):
        (folder / kind).mkdir()
        cfg = Config.fromfile(folder / f'{kind}.py')
        cfg.dump(folder / kind / 'config.py')
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            import mmbeitv2.models.segmentation_heads  # noqa: F401

            model = MODELS.build(cfg.model)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for parameter in model.parameters():
                torch.nn.init.normal_(parameter, std=0.3)
        meta = dict(cfg=cfg.pretty_text, dataset_meta=DATASET_META[kind])
        torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / kind / 'epoch_3.pth')
        return folder / kind

    return write


@pytest.fixture
def classifier(fine_tuned, tmp_path):
    """Config and checkpoint of eight classes."""
    folder = shutil.copytree(fine_tuned('finetune'), tmp_path / 'finetune')
    return folder / 'config.py', folder / 'epoch_3.pth'


@pytest.fixture
def segmenter(fine_tuned, tmp_path):
    """Config and checkpoint of nine classes."""
    folder = shutil.copytree(fine_tuned('segment'), tmp_path / 'segment')
    return folder / 'config.py', folder / 'epoch_3.pth'


@pytest.fixture
def tool(monkeypatch, capsys):
    """Run a tool without workers; its exit code, output and error output."""

    def run(name, *arguments):
        monkeypatch.syspath_prepend(ROOT / 'tools')
        module = __import__(name)
        sys.modules.pop(name)
        code = 0
        try:
            module.main([*map(str, arguments), '--workers', '0'])
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run

"""Configs inherit this package's own by name; one variable names the tokenizer."""

import pytest

from mmbeitv2.launch import config_files
from mmbeitv2.launch.config import load_config

BASE = """
tokenizer_checkpoint = 'tokenizer.pth'
model = dict(
    type='mmbeitv2.BEiTV2',
    target_generator=dict(
        type='mmbeitv2.VQKDTokenizer',
        init_cfg=dict(type='Pretrained', checkpoint=tokenizer_checkpoint)))
"""


@pytest.fixture
def base(tmp_path):
    path = tmp_path / 'base.py'
    path.write_text(BASE)
    return path


def test_override_of_the_tokenizer_variable_reaches_the_model(base):
    cfg = load_config(base, {'tokenizer_checkpoint': 'other.pth'})
    assert cfg.tokenizer_checkpoint == 'other.pth'
    assert cfg.model.target_generator.init_cfg.checkpoint == 'other.pth'


def test_tokenizer_variable_of_an_inheriting_config_reaches_the_model(base):
    leaf = base.with_name('leaf.py')
    leaf.write_text("_base_ = 'base.py'\ntokenizer_checkpoint = 'leaf.pth'\n")
    assert load_config(leaf).model.target_generator.init_cfg.checkpoint == 'leaf.pth'


def test_direct_override_of_the_checkpoint_is_obeyed(base):
    cfg = load_config(base, {'model.target_generator.init_cfg.checkpoint': 'direct.pth'})
    assert cfg.model.target_generator.init_cfg.checkpoint == 'direct.pth'


def test_named_base_is_inherited_through_a_local_one(tmp_path, base, monkeypatch):
    monkeypatch.setattr(config_files, 'find_config', lambda name: base)
    (tmp_path / 'sub').mkdir()
    (tmp_path / 'sub' / 'middle.py').write_text(
        "_base_ = [\n    'mmbeitv2::base.py',\n]\nseed = {{_base_.tokenizer_checkpoint}}\n"
    )
    leaf = tmp_path / 'leaf.py'
    leaf.write_text("_base_ = ['sub/middle.py']\nmodel = dict(depth=3)\n")
    cfg = load_config(leaf)
    assert cfg.seed == 'tokenizer.pth'
    assert cfg.model.depth == 3
    assert cfg.model.type == 'mmbeitv2.BEiTV2'
    assert '_scope_' not in cfg.model
    assert cfg.filename == str(leaf)


def test_unknown_named_config_lists_the_known_ones():
    with pytest.raises(FileNotFoundError, match=r"no config 'nothing\.py'.*beitv2_vit"):
        load_config('mmbeitv2::nothing.py')

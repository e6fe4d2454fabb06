"""What docs/openmmlab.md says of other projects' tools is so."""

import re
from pathlib import Path

import pytest
from mmengine.config import Config

from mmbeitv2.launch.config import load_config

ROOT = Path(__file__).resolve().parents[1]


def test_configs_of_ones_own_are_read_as_the_page_says(tmp_path, monkeypatch):
    page = (ROOT / 'docs/openmmlab.md').read_text()
    theirs, config, program, *_ = re.findall(r'```python\n(.*?)```', page, re.S)
    monkeypatch.chdir(tmp_path)
    Path('theirs.py').write_text(theirs)
    Path('mine.py').write_text(config)
    exec(program, {})
    assert load_config('theirs.py').model == Config.fromfile('theirs.py').model
    assert '_base_' not in Path('mine_whole.py').read_text()


def test_mmengine_alone_does_not_know_this_packages_prefix(tmp_path):
    """If a later mmengine does, the page has to change."""
    (tmp_path / 'mine.py').write_text("_base_ = 'mmbeitv2::beitv2_vit-b16_300e.py'\n")
    with pytest.raises((ValueError, AssertionError)):
        Config.fromfile(tmp_path / 'mine.py')
    assert load_config(tmp_path / 'mine.py').model.type == 'mmbeitv2.BEiTV2'


def test_nothing_names_a_quick_starts_checkpoint_by_its_number():
    """How many epochs it trains follows the processor: `last_checkpoint` is there after any."""
    pages = [ROOT / 'README.md', *(ROOT / 'docs').glob('*.md'), *(ROOT / 'configs').rglob('*.py')]
    numbered = re.compile(r'(quickstart\w*|example_fashion_mnist|demo\w*)/\S*(epoch|iter)_\d+')
    found = [
        (p.name, numbered.search(p.read_text())[0]) for p in pages if numbered.search(p.read_text())
    ]
    assert found == []

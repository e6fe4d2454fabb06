"""The documentation site builds without a network or a warning, and nothing in it leads nowhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.config_parts import check_parts
from mmbeitv2.launch.config_values import check_values

pytest.importorskip('sphinx', reason="the site's generator is not installed: pip's extra docs")

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / 'docs' / 'site'
QUESTIONS = (ROOT / 'docs' / 'faq.md').read_text()


def run_build(*arguments):
    return subprocess.run(
        [sys.executable, SOURCES / 'build.py', *arguments],
        env=os.environ | {'PYTHONPATH': str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope='module')
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp('docs') / 'site'
    result = run_build(folder)
    assert (result.returncode, result.stderr) == (0, '')
    return folder


@pytest.fixture
def check_links(monkeypatch):
    monkeypatch.syspath_prepend(SOURCES)
    import check_links

    return check_links


def test_every_page_of_the_repository_is_in_the_site(site):
    names = [path.relative_to(ROOT).with_suffix('') for path in (ROOT / 'docs').glob('*.md')]
    for name in [*names, 'README', 'CONTRIBUTING', 'CHANGELOG', 'SECURITY']:
        assert (site / f'{name}.html').is_file(), name
    assert 'url=docs/index.html' in (site / 'index.html').read_text()


def test_a_link_to_a_file_of_the_repository_leads_to_its_text(site):
    page = (site / 'docs' / 'architecture.html').read_text()
    assert 'href="../files/tools/train.py.html"' in page
    assert 'parse_args' in (site / 'files' / 'tools' / 'train.py.html').read_text()


def test_a_link_to_a_folder_leads_to_its_files_and_what_they_say_they_are(site):
    assert 'href="../files/tools.html"' in (site / 'docs' / 'architecture.html').read_text()
    listing = (site / 'files' / 'tools.html').read_text()
    assert 'href="tools/train.py.html"' in listing
    assert (ROOT / 'tools' / 'few_shot.py').read_text()[3:].partition('\n')[0] in listing


def test_the_reference_shows_docstrings_and_leads_to_their_lines(site):
    page = (site / 'docs' / 'api' / 'apis.html').read_text()
    assert 'Tokenizer of a checkpoint, frozen, on the CPU.' in page
    source = ROOT / 'mmbeitv2' / 'apis' / 'inference.py'
    line = source.read_text().partition('def load_tokenizer')[0].count('\n') + 1
    assert f'files/mmbeitv2/apis/inference.py.html#L-{line}"' in page


def test_the_reference_has_every_module(site):
    described = set()
    for page in (site / 'docs' / 'api').glob('*.html'):
        described |= set(re.findall(r'id="module-(mmbeitv2[\w.]+)"', page.read_text()))
    modules = {
        '.'.join(path.relative_to(ROOT).with_suffix('').parts)
        for path in (ROOT / 'mmbeitv2').rglob('*.py')
        # The Python API is described by the names that it is imported by.
        if not path.name.startswith('__') and path.parent.name != 'apis'
    }
    assert described == modules | {'mmbeitv2.apis'}


def test_search_finds_a_question(site):
    terms = (site / 'searchindex.js').read_text()
    assert 'docs/faq' in terms
    assert 'perplex' in terms


def test_links_that_lead_nowhere_are_named(tmp_path, check_links):
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / 'one.html').write_text(
        '<h1 id="top"></h1><a href="#top"></a><a href="#gone"></a><img src="absent.png">'
        '<a href="../two.html#here"></a><a href="../two.html#there"></a>'
        '<a href="https://example.org/"></a><script src="https://example.org/x.js"></script>'
    )
    (tmp_path / 'two.html').write_text('<p id="here"></p>')
    (tmp_path / 'x.css').write_text('@font-face { src: url("https://example.org/x.woff") }')
    assert check_links.faults_of(tmp_path) == [
        'a/one.html: #gone leads to no anchor of a/one.html',
        'a/one.html: ../two.html#there leads to no anchor of two.html',
        'a/one.html: absent.png leads to no file',
        'a/one.html: loads https://example.org/x.js from another host',
        'x.css loads from another host',
    ]


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / 'mine.txt').write_text('mine')
    result = run_build(tmp_path)
    assert result.returncode == 2
    assert result.stderr.startswith(f'error: {tmp_path} is there and is no site')
    assert (tmp_path / 'mine.txt').read_text() == 'mine'


def test_help_of_the_command_installs_nothing(tmp_path):
    result = subprocess.run(
        ['bash', ROOT / 'tools' / 'build_docs.sh', '--help'],
        env=os.environ | {'MMBEITV2_VENV': str(tmp_path / 'venv')},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, '')
    assert 'bash tools/build_docs.sh [FOLDER]' in result.stdout
    assert not (tmp_path / 'venv').exists()


def test_configs_that_answers_name_exist():
    named = re.findall(r'`((?:configs|tools)/[\w./-]+)`', QUESTIONS)
    assert len(named) > 5
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize('block', re.findall(r'```python\n(.+?)```', QUESTIONS, re.S))
def test_configs_in_answers_are_accepted(tmp_path, block):
    (tmp_path / 'config.py').write_text(block)
    cfg = load_config(str(tmp_path / 'config.py'))
    check_values(cfg, ['train', 'val'])
    check_parts(cfg, ['train', 'val'])
    assert cfg.model.backbone.arch == dict(embed_dim=384, depth=12, num_heads=6)

"""Every command that the pages name can be read: files, options, names, configs; none is run."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BASH = '```bash\n{}\n```\n'
PYTHON = '```python\n{}\n```\n'


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    """Tools import their neighbours, as when they are run."""
    monkeypatch.syspath_prepend(ROOT / 'tools')


def problems(text):
    """What is wrong with a page of this text."""
    from documented.checks import problems_of_block
    from documented.pages import blocks

    return [p for block in blocks(text, 'page.md') for p in problems_of_block(block)]


def test_every_documented_command_is_there_and_takes_its_options():
    from documented.checks import all_problems

    assert all_problems() == []


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('```\nls\n```\n', r'page\.md:1: its language is none, allowed: bash, '),
        ('```shell\nls\n```\n', "its language is 'shell', allowed: bash, "),
        (BASH.format('# nothing'), 'a block of bash without a command'),
        (BASH.format('frobnicate x'), r"page\.md:2: unknown program 'frobnicate': name it in"),
        (BASH.format("echo 'x"), 'is no command: No closing quotation'),
        (BASH.format('cd data && python tools/gone.py'), 'there is no tools/gone.py'),
        (BASH.format('python tools/train.py configs/gone.py'), 'there is no configs/gone.py'),
        (BASH.format('mmbeitv2 train mmbeitv2::gone.py'), 'there is no mmbeitv2::gone.py'),
        (BASH.format('mmbeitv2 tranin X'), "unknown command 'tranin'"),
        (BASH.format('python -m pytest tests/test_gone.py'), 'there is no tests/test_gone.py'),
        (BASH.format('python tools/train.py X --resumee'), 'unrecognized arguments: --resumee'),
        (BASH.format('python tools/convert_checkpoint.py A B --to tim'), "invalid choice: 'tim'"),
        (BASH.format('tools/dist_train.sh X 8 \\\n  --work-dri w'), 'unrecognized.*--work-dri'),
        (BASH.format('tools/dist_test.sh CONFIG CHECKPOINT'), 'takes 3 arguments or more'),
        (BASH.format('bash tools/benchmark/gpu.sh F --stages 1'), 'has no option --stages'),
        (BASH.format('bash tools/quickstart.sh dat'), "unknown stage 'dat'"),
        (
            BASH.format(
                'tools/dist_train.sh configs/beitv2_vit-b16_300e.py 8 --cfg-options imagesize=96'
            ),
            'imagesize',
        ),
        (PYTHON.format('def f(:'), r'page\.md:2: invalid syntax'),
        (PYTHON.format('from mmbeitv2.apis import tokenise'), 'mmbeitv2.apis has no tokenise'),
        (PYTHON.format('import mmbeitv2.gone'), "No module named 'mmbeitv2.gone'"),
        (PYTHON.format("model = dict(backbone=dict(archs='base'))"), 'takes no archs'),
        (PYTHON.format("init_cfg = dict(checkpoint='x.pth')"), 'which nothing reads'),
    ],
)
def test_a_faulty_block_is_named(text, message):
    found = problems(text)
    assert found
    assert re.search(message, found[0]), found


@pytest.mark.parametrize(
    'text',
    [
        BASH.format('python tools/convert_checkpoint.py A B --to {timm,mmpretrain}  # two'),
        BASH.format('X=1 tools/dist_train.sh configs/beitv2_vit-b16_300e.py 8 \\\n  --resume'),
        '```console\n$ mmbeitv2 --help\nand what it prints\n```\n',
        '```text\nanything\n```\n',
        '- a list\n\n  ```bash\n  ruff check\n  ```\n',
        PYTHON.format('optim_wrapper = dict(accumulative_counts=4)'),
        '<!-- copy: own_data/beitv2_own-data.py -->\n'
        + PYTHON.format('num_codes = len(data_root)'),
    ],
)
def test_a_sound_block_is_not(text):
    assert problems(text) == []


def test_a_note_is_of_the_next_block_alone():
    from documented.pages import blocks

    note = '<!-- needs: imagenet -->\n'
    needs = [b.needs for b in blocks(f'{note}```bash\na\n```\n```bash\nb\n```\n', 'p')]
    assert needs == ['imagenet', '']
    assert [b.needs for b in blocks(f'{note}words\n\n```bash\na\n```\n', 'p')] == ['']

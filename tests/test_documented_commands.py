"""Every command that the pages name can be read: files, options, names, configs; slow: and run."""

import json
import re
import subprocess
import sys
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
        (
            BASH.format('mmbeitv2 export CHECKPOINT --to onnx --out codes.onnx'),
            r'page\.md:2: codes\.onnx would lie in the repository: write it below work_dirs/',
        ),
        (
            BASH.format('python tools/convert_checkpoint.py SRC out --to transformers'),
            r'out would lie in the repository',
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
        BASH.format('mmbeitv2 export CHECKPOINT --to onnx --out work_dirs/codes.onnx'),
        '```console\n$ mmbeitv2 --help\nand what it prints\n```\n',
        '```text\nanything\n```\n',
        '```{toctree}\nindex\n```\n',
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


def test_paper_runs_are_cut_to_a_step_and_what_cannot_run_is_said():
    from documented.pages import Command
    from documented.plans import plan

    def planned(text, needs=''):
        return plan(Command('page.md', 1, text, needs))

    recipe = planned(
        'NNODES=4 tools/dist_train.sh configs/finetune/beitv2_vit-b16_1600e_in21k.py 8'
    )
    assert recipe.how == 'shortened'
    (line,) = recipe.lines
    assert line.startswith('tools/dist_train.sh configs/finetune/beitv2_vit-b16_1600e_in21k.py 1 ')
    assert 'train_cfg.max_epochs=1' in line.split()
    choices = planned('python tools/convert_checkpoint.py SRC DST --to {timm,transformers}')
    assert [line.rpartition(' ')[2] for line in choices.lines] == ['timm', 'transformers']
    assert planned('ruff check') == ('as it stands', ('ruff check',), '', 0.0, '')
    missing = planned('python tools/train.py X', needs='ADE20K')
    assert (missing.how, missing.lines, missing.note) == ('cannot run here', (), 'needs ADE20K')


def test_every_replacement_is_for_a_command_that_is_documented():
    from documented.pages import SHELL, all_blocks, commands, docstring_commands
    from documented.plans import REPLACEMENTS
    from documented.shell import expand_choices

    of_blocks = [c for b in all_blocks(ROOT) if b.language in SHELL for c in commands(b)]
    found = [*of_blocks, *docstring_commands(ROOT)]
    lines = [line for command in found for line in expand_choices(command.text)]
    unused = [p for p, *_ in REPLACEMENTS if not any(re.search(p, line) for line in lines)]
    assert unused == []


def test_what_is_run_has_no_word_in_the_readers_place():
    from documented.pages import SHELL, all_blocks, commands
    from documented.plans import plan

    found = [c for b in all_blocks(ROOT) if b.language in SHELL for c in commands(b)]
    lines = [line for command in found for line in plan(command).lines]
    assert lines
    assert [line for line in lines if re.search(r'\b(SRC|DST|CONFIG)\b', line)] == []


def test_blocks_of_python_read_no_name_that_their_page_does_not_give(tmp_path):
    from documented.pages import all_blocks
    from documented.programs import BEFORE
    from documented.python_blocks import is_config

    programs = dict(BEFORE)
    for block in all_blocks(ROOT):
        if block.language == 'python' and not block.needs and not is_config(block):
            programs[block.page] = f'{programs.get(block.page, "")}\n{block.text}'
    assert len(programs) > 5
    for page, text in programs.items():
        (tmp_path / f'{page.replace("/", "_")}.py').write_text(text)
    check = ['ruff', 'check', '--isolated', '--no-cache', '--select', 'F821', str(tmp_path)]
    found = subprocess.run(check, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout


def test_the_scratch_copys_validation_photos_have_reassessed_labels(tmp_path):
    """Else the configs of ImageNet-ReaL would refuse them."""
    from documented.scratch import _classes

    from mmbeitv2.evaluation.real import ImageNetReaLAccuracy

    for split in ('train', 'val'):
        for number in range(40):
            photo = tmp_path / f'demo/{split}/{"ab"[number % 2]}/{number}.jpg'
            photo.parent.mkdir(parents=True, exist_ok=True)
            photo.touch()
    _classes(tmp_path / 'copy', tmp_path / 'demo')
    names = [path.name for path in (tmp_path / 'copy/data/imagenet/val').glob('*/*')]
    assert len(names) == 4
    labels = ImageNetReaLAccuracy()
    # None is refused, though not each has a label.
    assert any(set(map(labels._labels_of, names)))


@pytest.mark.slow
def test_every_documented_command_runs(tmp_path):
    """Those that need no network, no other data and no quarter of an hour."""
    demo = tmp_path / 'demo'
    counts = ['--train', '320', '--seg-train', '32', '--val', '48', '--workers', '1']
    made = [sys.executable, 'tools/make_demo_data.py', '--out', demo, *counts]
    subprocess.run(made, cwd=ROOT, check=True)
    tool = [sys.executable, 'tools/run_documented_commands.py', '--demo', demo, '--out', tmp_path]
    subprocess.run([*tool, '--limit', '600'], cwd=ROOT, check=False)
    results = json.loads((tmp_path / 'commands.json').read_text())
    assert len(results) > 50
    assert [row for row in results if row['code']] == []

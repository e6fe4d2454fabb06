"""What a stranger meets first is true: pages, citation, workflows, forms, help of the scripts."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from mmbeitv2.version import __version__

ROOT = Path(__file__).resolve().parents[1]
PAGES = ('CHANGELOG.md', 'CODE_OF_CONDUCT.md', 'CONTRIBUTING.md', 'SECURITY.md')
TRAIN_VAL = ('train', 'val')
EXAMPLES = ('teacher', 'quantizer', 'recipe', 'checkpoint format')
WORKFLOWS = sorted((ROOT / '.github' / 'workflows').glob('*.yml'))
FORMS = sorted((ROOT / '.github' / 'ISSUE_TEMPLATE').glob('*.yml'))


def pinned(package):
    """The version of a package in constraints.txt."""
    return re.search(rf'^{package}==(\S+)', (ROOT / 'constraints.txt').read_text(), re.M)[1]


def documented_commands():
    """Lines of README's and CONTRIBUTING's blocks of commands, without their comments."""
    text = '\n'.join((ROOT / name).read_text() for name in ('README.md', 'CONTRIBUTING.md'))
    blocks = re.findall(r'```bash\n(.*?)```', text, re.S)
    return {line.partition(' #')[0].strip() for block in blocks for line in block.splitlines()}


def examples():
    """Blocks of Python by the thing that CONTRIBUTING says how to add."""
    sections = (ROOT / 'CONTRIBUTING.md').read_text().split('\n## Adding a ')[1:]
    return {
        section.partition('\n')[0]: re.findall(r'```python\n(.*?)```', section, re.S)
        for section in sections
    }


@pytest.fixture(scope='module')
def contributed(tmp_path_factory):
    """Output of one program of all examples, each of which says its name at its end."""
    folder = tmp_path_factory.mktemp('contributed')
    program = []
    for name, blocks in examples().items():
        for block in blocks:
            if '\n_base_ = ' in block:
                file = folder / block.partition('\n')[0].removeprefix('# ')
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(block)
            else:
                program.append(block)
        program.append(f'print({name!r}, "works", flush=True)\n')
    (folder / 'program.py').write_text('\n'.join(program))
    result = subprocess.run(
        [sys.executable, 'program.py'],
        cwd=folder,
        env=os.environ | {'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout, result.stderr


@pytest.mark.parametrize('name', EXAMPLES)
def test_what_contributing_adds_works(contributed, name):
    output, errors = contributed
    assert f'{name} works' in output.splitlines(), errors[-3000:]


def test_every_example_is_made_and_then_tried():
    assert tuple(examples()) == EXAMPLES
    assert [name for name, blocks in examples().items() if 'assert ' not in blocks[-1]] == []


SAID_BY_HELP = {
    'quickstart.sh': 'tokenizer',
    'run_tests.sh': '--all',
    'test_upstream.sh': 'MMBEITV2_WHEELS',
    'example_fashion_mnist.sh': 'tokenizer',
}


@pytest.mark.parametrize('script', SAID_BY_HELP)
@pytest.mark.parametrize('arguments', [['--help'], ['--long', '-h']])
def test_help_of_a_script_installs_nothing(tmp_path, script, arguments):
    venv = tmp_path / 'venv'
    result = subprocess.run(
        ['bash', ROOT / 'tools' / script, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {'MMBEITV2_VENV': str(venv), 'PYTHONPATH': ''},
    )
    assert (result.returncode, result.stderr) == (0, '')
    assert f'bash tools/{script}' in result.stdout
    assert SAID_BY_HELP[script] in result.stdout
    assert not venv.exists()


@pytest.mark.parametrize('page', PAGES)
def test_links_of_pages_lead_to_files_and_named_tests_exist(page):
    text = (ROOT / page).read_text()
    links = [link.partition('#')[0] for link in re.findall(r'\]\(([^)]+)\)', text)]
    tests = re.findall(r'`(?:bash |python -m pytest )?((?:tests|tools)/[\w/]+\.\w+)', text)
    assert [path for path in [*links, *tests] if not (ROOT / path).exists()] == []


def test_changelog_begins_with_what_is_unreleased_and_names_the_version():
    text = (ROOT / 'CHANGELOG.md').read_text()
    versions = re.findall(r'^## \[(.+?)\]', text, re.M)
    assert versions[0] == 'Unreleased'
    assert __version__ in versions or f'the first release will be {__version__}.' in text
    kinds = set(re.findall(r'^### (.+)', text, re.M))
    assert kinds <= {'Added', 'Changed', 'Deprecated', 'Removed', 'Fixed', 'Security'}


def test_citation_is_of_the_paper_and_this_version():
    citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
    assert citation['cff-version'] == '1.2.0'
    assert {'message', 'title', 'authors'} <= citation.keys()
    assert (citation['version'], citation['license']) == (__version__, 'Apache-2.0')
    paper = citation['preferred-citation']
    names = [author['family-names'] for author in paper['authors']]
    assert names == ['Peng', 'Dong', 'Bao', 'Ye', 'Wei']
    assert paper['url'] in (ROOT / 'README.md').read_text()


@pytest.mark.parametrize('page', ['README.md', 'demo/README.md', 'demo/assets/README.md'])
def test_pages_count_the_demos_pictures_as_they_are(page):
    text = (ROOT / page).read_text()
    assets = ROOT / 'demo/assets'
    counts = {split: len(list((assets / f'stamps/{split}').rglob('*.*'))) for split in TRAIN_VAL}
    rooms = {split: len(list((assets / f'backgrounds/{split}').glob('*'))) for split in TRAIN_VAL}
    whole = (str(sum(counts.values())), str(sum(rooms.values())))
    said = re.findall(r'(\d+) photo cut-outs .*?(\d+) backgrounds', text)
    apart = re.findall(r'(\d+) cut-outs .*?(\d+) cut-outs and (\d+) backgrounds', text)
    assert said or apart
    assert set(said) <= {whole}
    known, unseen = (str(counts[split]) for split in TRAIN_VAL)
    assert set(apart) <= {(known, unseen, str(rooms['val']))}


def runs(job):
    """The commands of a job, each once, with one of its Pythons."""
    steps = [step['run'] for step in job['steps'] if 'run' in step]
    lines = [line.strip() for step in steps for line in step.splitlines()]
    return [line.replace('python${{ matrix.python }}', 'python3.10') for line in lines]


@pytest.mark.parametrize('path', WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_documented_commands_on_every_python(path):
    workflow = yaml.safe_load(path.read_text())
    # YAML 1.1 reads the key `on` as a truth value.
    assert {'push', 'pull_request'} == workflow[True].keys()
    pythons = re.findall(
        r'Programming Language :: Python :: (3\.\d+)', (ROOT / 'pyproject.toml').read_text()
    )
    for name, job in workflow['jobs'].items():
        # Upstream's torch has no wheel for the last of them, and its versions were tried on one.
        expected = ['3.10'] if name == 'upstream' else pythons
        assert job['strategy']['matrix'] == {'python': expected}
        assert runs(job)
        assert [line for line in runs(job) if line not in documented_commands()] == []


def test_workflows_test_each_set_of_versions_and_the_wheel():
    jobs = [yaml.safe_load(path.read_text())['jobs'] for path in WORKFLOWS]
    names = {name for file in jobs for name in file}
    assert {'tested', 'lowest', 'upstream', 'wheel'} <= names


def test_pre_commit_runs_the_linter_that_the_tests_run():
    config = yaml.safe_load((ROOT / '.pre-commit-config.yaml').read_text())
    hooks = [hook for repository in config['repos'] for hook in repository['hooks']]
    wanted = f'ruff=={pinned("ruff")}'
    assert [hook['additional_dependencies'] for hook in hooks] == [[wanted]] * 2
    commands = [hook['entry'].removesuffix(' --force-exclude') for hook in hooks]
    script = (ROOT / 'tools' / 'run_tests.sh').read_text()
    assert commands == re.findall(r'^ruff (?:check|format)', script, re.M)


@pytest.mark.parametrize('path', FORMS, ids=lambda path: path.name)
def test_a_form_asks_for_what_an_answer_needs(path):
    form = yaml.safe_load(path.read_text())
    assert {'name', 'description', 'body'} <= form.keys()
    fields = [field for field in form['body'] if field['type'] != 'markdown']
    assert all(field['attributes']['label'] for field in fields)
    assert len({field['id'] for field in fields}) == len(fields)
    assert any(field.get('validations', {}).get('required') for field in fields)

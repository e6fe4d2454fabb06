"""A tool's console holds what the tool has to say, and nothing of the hosts' imports."""

import ast
import os
import subprocess
import sys
import warnings
from pathlib import Path

from mmbeitv2.launch.console import LEFT_OUT, import_quietly, without_lines, without_warning

import pytest

ROOT = Path(__file__).resolve().parents[2]
# What imports no host.
LIGHT = {'mmbeitv2.errors', 'mmbeitv2.launch.user_errors'}


COMMANDS = {
    'train.py': ['--help'],
    'few_shot.py': ['--help'],
    'quickstart_report.py': ['--work-dir', 'none'],
}


@pytest.fixture(scope='module')
def printed(tmp_path_factory):
    """Exit code, standard output and standard error of tools that a user starts, by name."""
    folder = tmp_path_factory.mktemp('elsewhere')
    running = {
        tool: subprocess.Popen(
            [sys.executable, ROOT / 'tools' / tool, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
            env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        )
        for tool, arguments in COMMANDS.items()
    }
    found = {tool: process.communicate() for tool, process in running.items()}
    return {tool: (running[tool].returncode, *found[tool]) for tool in COMMANDS}


@pytest.mark.parametrize('tool', ['train.py', 'few_shot.py'])
def test_help_is_all_that_help_prints(printed, tool):
    code, output, errors = printed[tool]
    assert code == 0
    assert output.startswith(f'usage: {tool}')
    assert errors == ''


def test_the_tool_that_imports_most_prints_its_error_alone(printed):
    code, output, errors = printed['quickstart_report.py']
    assert code == 2
    assert output == ''
    assert errors.startswith('error: no folder none')
    assert errors.count('\n') == 1


def test_lines_are_left_out_as_a_whole_and_no_others(capsys):
    with without_lines(LEFT_OUT):
        print(LEFT_OUT[0])
        print(f'{LEFT_OUT[0]}, and this matters')
        print('other')
    assert capsys.readouterr().out == f'{LEFT_OUT[0]}, and this matters\nother\n'


def test_what_was_printed_before_an_error_is_not_lost(capsys):
    def fail():
        with without_lines(LEFT_OUT):
            print('before')
            raise ValueError('broken')

    with pytest.raises(ValueError, match='broken'):
        fail()
    assert capsys.readouterr().out == 'before\n'


def test_a_warning_that_no_filter_stops_is_left_out_and_no_other():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        with without_warning('old'), warnings.catch_warnings():
            warnings.simplefilter('always')
            warnings.warn('old, and known', DeprecationWarning, stacklevel=1)
            warnings.warn('new', DeprecationWarning, stacklevel=1)
    assert [(str(w.message), w.category) for w in caught] == [('new', DeprecationWarning)]


def test_a_warning_before_an_error_is_not_lost():
    def fail():
        with without_warning('old'):
            warnings.warn('new', UserWarning, stacklevel=1)
            raise ValueError('broken')

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        with pytest.raises(ValueError, match='broken'):
            fail()
    assert [str(warning.message) for warning in caught] == ['new']


@pytest.mark.parametrize(
    ('text', 'module', 'shown'),
    [
        ('Fail to import ``MultiScaleDeformableAttention`` from', 'mmcv.cnn.bricks', False),
        ('Fail to import ``MultiScaleDeformableAttention`` from', 'elsewhere', True),
        ('Fail to import ``nms``', 'mmcv.ops', True),
    ],
)
def test_one_warning_of_one_library_is_left_out(text, module, shown):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter('always')
        import_quietly()
        warnings.warn_explicit(text, UserWarning, 'file.py', 1, module)
    assert [str(warning.message) for warning in caught] == [text] * shown


def imported_by(path):
    """Modules that a file imports as it is loaded, in order."""
    return [
        name
        for statement in ast.parse(path.read_text()).body
        if isinstance(statement, ast.Import | ast.ImportFrom)
        for name in (
            [statement.module]
            if isinstance(statement, ast.ImportFrom)
            else [alias.name for alias in statement.names]
        )
    ]


@pytest.mark.parametrize('path', sorted((ROOT / 'tools').glob('*.py')), ids=lambda path: path.name)
def test_what_comes_before_torch_and_the_hosts_is_imported_first(path):
    imported = [n for n in imported_by(path) if n.split('.')[0] not in sys.stdlib_module_names]
    ours = {name for name in imported if name.split('.')[0] == 'mmbeitv2'}
    assert ours <= LIGHT or imported[0] == 'mmbeitv2.launch.console'

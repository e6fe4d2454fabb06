"""The script that imports the package on every Python tells a sound checkout from a faulty one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = ('tools/import_everywhere.sh', 'tools/import_or_cure.py', 'tools/quickstart_options.py')
CURE = 'raise ImportError("run `pip install \'mmbeitv2[onedl]\'`", name=__name__)\n'


@pytest.fixture
def checkout(tmp_path):
    """A small checkout, whose package names the cure, and a PATH with this Python alone."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy2(ROOT / name, tmp_path / name)
    for name, text in {
        'mmbeitv2/__init__.py': CURE,
        'configs/run.py': 'x = 1\n',
        'mmbeitv2_command.py': '',
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / 'bin').mkdir()
    (tmp_path / 'bin' / 'python{}.{}'.format(*sys.version_info)).symlink_to(sys.executable)
    for command in ('mktemp', 'rm', 'dirname', 'ls', 'sed'):
        (tmp_path / 'bin' / command).symlink_to(shutil.which(command))
    return tmp_path


def run(checkout, *arguments):
    return subprocess.run(
        [shutil.which('bash'), checkout / 'tools/import_everywhere.sh', *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {'PATH': str(checkout / 'bin')},
    )


def files(checkout):
    return sorted(str(path.relative_to(checkout)) for path in checkout.rglob('*'))


def test_a_package_that_names_the_cure_is_well_and_nothing_is_written(checkout):
    before = files(checkout)
    result = run(checkout)
    assert (result.returncode, result.stderr) == (0, '')
    assert result.stdout.endswith(': not installed there, and the error names the cure\n')
    assert result.stdout.count('\n') == 1
    assert files(checkout) == before


@pytest.mark.parametrize(
    ('name', 'text', 'said'),
    [
        ('mmbeitv2/__init__.py', "raise ImportError('No module named torch')\n", 'names no cure'),
        ('mmbeitv2/__init__.py', 'import no_such_package\n', 'names no cure'),
        ('configs/run.py', 'x = (\n', 'SyntaxError'),
        ('tools/quickstart_options.py', 'import no_such_package\n', 'no_such_package'),
    ],
)
def test_a_fault_ends_it(checkout, name, text, said):
    (checkout / name).write_text(text)
    result = run(checkout)
    assert result.returncode != 0
    assert said in result.stdout + result.stderr


def test_without_any_python_it_says_what_to_do(checkout):
    for python in (checkout / 'bin').glob('python*'):
        python.unlink()
    result = run(checkout)
    assert result.returncode == 1
    assert result.stderr.startswith('No Python 3.10, 3.11 or 3.12 was found on PATH')


def test_help_runs_nothing(checkout):
    (checkout / 'mmbeitv2/__init__.py').write_text('x = (\n')
    result = run(checkout, '--help')
    assert result.returncode == 0
    assert 'bash tools/import_everywhere.sh' in result.stdout


def test_the_repositorys_package_is_imported_where_it_is_installed():
    result = subprocess.run(
        [sys.executable, ROOT / 'tools/import_or_cure.py'],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    assert result.returncode == 0
    assert result.stdout.endswith(' imported\n')


def test_the_continuous_check_runs_both_scripts():
    lines = (ROOT / '.ci/run').read_text().splitlines()
    commands = [line for line in lines if line.startswith('bash ')]
    assert commands == ['bash tools/import_everywhere.sh', 'bash tools/run_tests.sh']

"""The command ``mmbeitv2``: which tools it knows, how it names them, and that it becomes them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mmbeitv2.commands import (
    INTERNAL,
    OF_CHECKOUT,
    choose,
    environment,
    find_commands,
    first_line,
    main,
    offered,
    tools_folder,
)
from mmbeitv2.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / 'tools'


@pytest.fixture
def folder(tmp_path):
    """A wheel's tools: one that says what it is given, one of a checkout, a module, a launcher."""
    tools = tmp_path / '.mim' / 'tools'
    tools.mkdir(parents=True)
    program = "import sys\n\nif __name__ == '__main__':\n    {}\n"
    (tools / 'tell_all.py').write_text(
        '"""Tell all: ``python tools/tell_all.py``."""\n'
        + program.format('print(sys.argv[1:]); sys.exit(7)')
    )
    (tools / 'quickstart.py').write_text('"""Run."""\n' + program.format('pass'))
    (tools / 'part.py').write_text('"""What others import."""\n')
    (tools / 'dist_tell.sh').write_text(
        '#!/usr/bin/env bash\n# Tells on several: tools/dist_tell.sh CONFIG\necho "$@"\n'
    )
    return tools


def test_tools_of_a_wheel_are_found_within_the_package(folder, tmp_path):
    assert tools_folder(tmp_path) == folder
    assert tools_folder() == TOOLS


def test_every_program_and_launcher_is_a_command(folder):
    commands = find_commands(folder)
    assert list(commands) == ['dist-tell', 'quickstart', 'tell-all']
    assert first_line(commands['tell-all']) == 'Tell all'
    assert first_line(commands['dist-tell']) == 'Tells on several'


def test_every_tool_of_the_repository_says_what_it_is_for():
    commands = find_commands(TOOLS)
    assert {'train', 'test', 'few-shot', 'convert-checkpoint', 'check-images'} <= commands.keys()
    lines = {name: first_line(path) for name, path in commands.items()}
    assert [name for name, line in lines.items() if not 10 <= len(line) <= 100] == []


def test_what_other_tools_start_is_no_command():
    assert all((TOOLS / f'{name}.py'.replace('-', '_')).is_file() for name in INTERNAL)
    commands = {name.replace('-', '_') for name in find_commands(TOOLS)}
    assert {name.replace('-', '_') for name in INTERNAL} & commands == set()


def test_commands_of_a_checkout_exist_and_are_offered_there_alone(folder):
    assert set(OF_CHECKOUT) <= find_commands(TOOLS).keys()
    assert offered(find_commands(TOOLS), TOOLS) == find_commands(TOOLS)
    assert list(offered(find_commands(folder), folder)) == ['dist-tell', 'tell-all']
    with pytest.raises(InputError, match=r"'quickstart' reads folders .* run it in a checkout"):
        choose('quickstart', folder)


def test_a_beginning_is_enough_where_it_is_of_one_command():
    assert choose('convert', TOOLS).name == 'convert_checkpoint.py'
    assert choose('test', TOOLS).name == 'test.py'
    with pytest.raises(InputError, match="ambiguous command 'check', allowed: check-images, "):
        choose('check', TOOLS)


@pytest.mark.parametrize('name', ['trian', '', '../setup', 'torchrun', 'import-or-cure'])
def test_an_unknown_command_is_one_line_with_those_allowed(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name])
    assert ended.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ''
    first = next(iter(find_commands(TOOLS)))
    assert printed.err.startswith(f'error: unknown command {name!r}, allowed: {first}, ')
    assert printed.err.count('\n') == 1


def test_without_a_command_the_help_is_printed_and_nothing_done(capsys):
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert 'few-shot' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('arguments', 'code', 'output'),
    [
        (['tell', '--help', '-x', 'a b', '--', 'c'], 7, "['--help', '-x', 'a b', '--', 'c']\n"),
        (['dist-tell', 'x.py', '8'], 0, 'x.py 8\n'),
    ],
)
def test_the_tool_gets_every_argument_and_its_exit_code_is_the_commands(
    folder, arguments, code, output
):
    script = (
        'import sys; from pathlib import Path; from mmbeitv2 import commands\n'
        'commands.tools_folder = lambda: Path(sys.argv[1]); commands.main(sys.argv[2:])'
    )
    result = subprocess.run(
        [sys.executable, '-c', script, folder, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {'PYTHONPATH': str(ROOT)},
    )
    assert (result.returncode, result.stdout, result.stderr) == (code, output, '')


def test_tools_find_the_checkout_and_launchers_this_python(folder, monkeypatch):
    monkeypatch.setenv('PYTHONPATH', 'mine')
    of_checkout = environment(TOOLS)
    assert of_checkout['PYTHONPATH'] == f'{ROOT}{os.pathsep}mine'
    assert of_checkout['PATH'].startswith(f'{Path(sys.executable).parent}{os.pathsep}')
    assert environment(folder)['PYTHONPATH'] == 'mine'

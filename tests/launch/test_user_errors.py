"""Errors that the user can mend end a tool in one line, all others keep their traceback."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.logging import MMLogger
from torch.utils.data import DataLoader

from mmbeitv2.errors import InputError, MissingFileError, UserError
from mmbeitv2.launch.user_errors import SAID_VARIABLE, one_line_errors

ROOT = Path(__file__).resolve().parents[2]
MESSAGE = 'lr is −1, allowed: above 0; set optim_wrapper.optimizer.lr'


class Unreadable:
    """A data set whose photos cannot be read."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        raise MissingFileError(f'no photo {index}: restore it.')


def test_message_and_exit_code_are_those_of_a_command(capsys):
    with pytest.raises(SystemExit) as end, one_line_errors():
        raise InputError(MESSAGE)
    assert end.value.code == 2
    assert capsys.readouterr().err == f'error: {MESSAGE}\n'


def test_processes_of_a_run_say_the_same_once(tmp_path):
    script = tmp_path / 'script.py'
    script.write_text(
        'from mmbeitv2.errors import InputError\n'
        'from mmbeitv2.launch.user_errors import SAID_VARIABLE, one_line_errors\n'
        'with one_line_errors():\n'
        f'    raise InputError({MESSAGE!r})\n'
    )
    start = ['--standalone', '--local-addr=127.0.0.1', '--nproc_per_node=2', script]
    ended = subprocess.run(
        [sys.executable, ROOT / 'tools/torchrun.py', *start],
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2
    assert ended.stderr.count(f'error: {MESSAGE}\n') == 1


def test_what_only_one_process_of_a_run_says_is_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(SAID_VARIABLE, str(tmp_path))
    for message in ('photo 1', 'photo 2', 'photo 1'):
        with pytest.raises(SystemExit, match='2'), one_line_errors():
            raise InputError(message)
    assert capsys.readouterr().err == 'error: photo 1\nerror: photo 2\n'


def test_of_a_workers_error_the_message_alone_is_printed(capsys):
    with pytest.raises(SystemExit) as end, one_line_errors():
        list(DataLoader(Unreadable(), num_workers=1))
    assert end.value.code == 2
    assert capsys.readouterr().err == 'error: no photo 0: restore it.\n'


def test_traceback_is_in_the_runs_log(tmp_path, capsys):
    logger = MMLogger.get_instance('user-errors', log_file=str(tmp_path / 'run.log'))
    capsys.readouterr()
    with pytest.raises(SystemExit), one_line_errors():
        raise InputError(MESSAGE)
    for handler in logger.handlers:
        handler.flush()
    log = (tmp_path / 'run.log').read_text()
    assert 'Traceback (most recent call last)' in log
    assert MESSAGE in log
    assert 'Traceback' not in ''.join(capsys.readouterr())


def test_a_bug_keeps_its_traceback():
    with pytest.raises(ValueError, match='of a library'), one_line_errors():
        raise ValueError('of a library')


@pytest.mark.parametrize('kind', UserError.__subclasses__())
def test_programs_catch_built_in_errors(kind):
    builtin = kind.__mro__[2]
    assert builtin.__module__ == 'builtins'
    assert str(kind('what, allowed, cure')) == 'what, allowed, cure'
    assert issubclass(kind, builtin)

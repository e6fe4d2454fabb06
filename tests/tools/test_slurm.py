"""What the SLURM scripts ask of srun: a stand-in on PATH prints its arguments."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mmbeitv2

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/beitv2_vit-b16_300e.py'  # ten workers


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Run a script of tools/ with settings in the environment: exit status, lines of output."""
    stand_in = tmp_path / 'bin' / 'srun'
    stand_in.parent.mkdir()
    stand_in.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    stand_in.chmod(0o755)
    for name in ('GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK', 'SRUN_ARGS'):
        monkeypatch.delenv(name, raising=False)

    def run(script, *arguments, **settings):
        path = [stand_in.parent, Path(sys.executable).parent, os.environ['PATH']]
        result = subprocess.run(
            ['bash', str(ROOT / 'tools' / script), 'part', 'job', *(str(a) for a in arguments)],
            cwd=tmp_path,
            env={**os.environ, 'PATH': ':'.join(str(part) for part in path), **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return result.returncode, result.stdout.splitlines()

    return run


def test_every_worker_gets_a_cpu_of_its_own(slurm):
    status, asked = slurm('slurm_train.sh', CONFIG)
    assert status == 0
    assert '--cpus-per-task=11' in asked
    assert {'--ntasks=8', '--ntasks-per-node=8', '--gres=gpu:8'} <= set(asked)
    assert asked[-3:] == [str(CONFIG), '--launcher', 'slurm']


def test_overrides_of_the_config_count(slurm):
    options = [f'{phase}_dataloader.num_workers=3' for phase in ('train', 'val', 'test')]
    _, asked = slurm('slurm_train.sh', CONFIG, 'runs/mine', '--amp', '--cfg-options', *options)
    assert '--cpus-per-task=4' in asked
    assert (
        asked[-7:] == ['runs/mine', '--amp', '--cfg-options', *options, '--launcher', 'slurm'][-7:]
    )


def test_what_is_logged_about_the_config_is_no_part_of_the_number(slurm):
    _, asked = slurm('slurm_train.sh', CONFIG, '--cfg-options', 'tokenizer_checkpoint=/mine.pth')
    assert '--cpus-per-task=11' in asked


def test_a_test_asks_alike(slurm):
    _, asked = slurm('slurm_test.sh', CONFIG, 'model.pth', '--out', 'predictions.pkl', GPUS='2')
    assert {'--cpus-per-task=11', '--ntasks=2', '--gres=gpu:2'} <= set(asked)


def test_the_variable_has_the_last_word(slurm):
    settings = dict(CPUS_PER_TASK='6', GPUS='16', SRUN_ARGS='--time=10:00 --exclusive')
    _, asked = slurm('slurm_train.sh', CONFIG, **settings)
    assert {'--cpus-per-task=6', '--ntasks=16', '--ntasks-per-node=8'} <= set(asked)
    assert {'--time=10:00', '--exclusive'} <= set(asked)


@pytest.mark.parametrize('name', ['GPUS', 'GPUS_PER_NODE', 'CPUS_PER_TASK'])
def test_a_setting_that_is_no_number_is_refused(slurm, name):
    status, output = slurm('slurm_train.sh', CONFIG, **{name: 'many'})
    assert (status, output) == (2, [f"{name} is 'many', but must be a whole number from 1 on"])


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nothing.py'], "error: no config file 'nothing.py'"),
        (
            [CONFIG, '--cfg-options', 'train_dataloader.num_workers=-1'],
            'error: train_dataloader.num_workers is -1, allowed: 0 or more',
        ),
    ],
)
def test_nothing_is_asked_for_a_config_that_cannot_run(slurm, arguments, message):
    status, output = slurm('slurm_train.sh', *arguments)
    assert status == 2
    assert [line for line in output if line.startswith(message)] == output[-1:]


def test_what_reading_a_config_says_is_no_part_of_the_number():
    command = [sys.executable, '-W', 'ignore', '-m', 'mmbeitv2.launch.cpus', str(CONFIG)]
    result = subprocess.run(
        [*command, '--cfg-options', 'image_size=64'], capture_output=True, text=True, check=True
    )
    assert 'image_size=64 changes' in result.stderr
    assert result.stdout.strip().isdigit()


@pytest.fixture
def stopping(slurm, tmp_path):
    """Let srun end with code 75 so many times, and then with another; what it was asked each time.

    ``scontrol`` writes down what it is asked.
    """

    def run(times, *arguments, then=0, **settings):
        folder = tmp_path / 'bin'
        (folder / 'srun').write_text(
            '#!/usr/bin/env bash\n'
            f'echo "${{MMBEITV2_RESTARTED:-first}} $*" >> {tmp_path}/srun.log\n'
            f'(( $(wc -l < {tmp_path}/srun.log) <= {times} )) && exit 75\nexit {then}\n'
        )
        (folder / 'scontrol').write_text(
            f'#!/usr/bin/env bash\necho "$*" >> {tmp_path}/scontrol.log\n'
        )
        (folder / 'scontrol').chmod(0o755)
        status, _ = slurm('slurm_train.sh', CONFIG, *arguments, CPUS_PER_TASK='2', **settings)
        return status, (tmp_path / 'srun.log').read_text().splitlines()

    return run


class TestStopped:
    """A run that was warned and has saved (exit code 75)."""

    @pytest.fixture(autouse=True)
    def outside_of_a_job(self, monkeypatch):
        for name in (
            'SLURM_JOB_ID',
            'SLURM_RESTART_COUNT',
            'MMBEITV2_RESTARTED',
            'WARN_SECONDS',
            'RESTARTS',
        ):
            monkeypatch.delenv(name, raising=False)

    def test_is_warned_two_minutes_ahead(self, stopping):
        _, asked = stopping(0)
        assert '--signal=USR1@120' in asked[0]

    def test_the_users_own_warning_comes_later(self, stopping):
        _, asked = stopping(0, SRUN_ARGS='--signal=USR1@300')
        assert asked[0].index('USR1@120') < asked[0].index('USR1@300')

    def test_goes_on_by_another_srun(self, stopping):
        status, asked = stopping(2, 'runs/mine')
        assert (status, len(asked)) == (0, 3)
        assert [line.split()[0] for line in asked] == ['first', '1', '1']

    def test_so_often_and_no_more(self, stopping):
        status, asked = stopping(9, RESTARTS='2')
        assert (status, len(asked)) == (75, 3)

    def test_another_failure_is_not_repeated(self, stopping):
        status, asked = stopping(0, then=1)
        assert (status, len(asked)) == (1, 1)

    def test_a_batch_job_is_requeued(self, stopping, tmp_path):
        status, asked = stopping(9, SLURM_JOB_ID='42')
        assert (status, len(asked)) == (75, 1)
        assert (tmp_path / 'scontrol.log').read_text() == 'requeue 42\n'

    def test_a_requeued_job_resumes(self, stopping):
        _, asked = stopping(0, SLURM_JOB_ID='42', SLURM_RESTART_COUNT='1')
        assert asked[0].split()[0] == '1'

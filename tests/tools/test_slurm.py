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

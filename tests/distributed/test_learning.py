"""Two processes over gloo share the photos of a look; training notices nothing."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from learned_photos import write_photos

from mmbeitv2.evaluation.learning_record import read_learning


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """Runs of two processes and of one, on 8 training and 9 held-out photos."""
    folder = tmp_path_factory.mktemp('learning')
    write_photos(folder / 'train', 8)
    write_photos(folder / 'val', 9, seed=1)
    script = str(Path(__file__).with_name('learning_process.py'))
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(folder), str(rank), str(world_size)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, world_size in ((0, 2), (1, 2), (0, 1))
    ]
    try:
        outputs = [process.communicate(timeout=300)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs):
        assert process.returncode == 0, output[-4000:]
    return folder


@pytest.mark.parametrize('kind', ['tokenizer', 'pretraining'])
@pytest.mark.parametrize('rank', [0, 1])
def test_weights_and_buffers_are_those_of_a_run_without_looks(folder, kind, rank):
    ends = torch.load(folder / f'{rank}_of_2.pt', weights_only=True)
    plain, watched = ends[f'{kind}_plain'], ends[f'{kind}_watched']
    assert plain.keys() == watched.keys()
    assert [name for name in plain if not torch.equal(plain[name], watched[name])] == []


def test_a_look_by_two_is_that_by_one(folder):
    """Before the first step, where the weights are the same."""
    two, one = (read_learning(folder / f'pretraining_watched_{count}')[0] for count in (2, 1))
    assert two['photos'] == one['photos']
    for name, values in one['by_photo'].items():
        assert two['by_photo'][name] == pytest.approx(values, rel=1e-3)
    assert len(two['by_photo']['loss_held_out']) == 9


@pytest.mark.parametrize('kind', ['tokenizer', 'pretraining'])
def test_a_look_is_written_once(folder, kind):
    looks = read_learning(folder / f'{kind}_watched_2')
    assert [look['epoch'] for look in looks] == [0, 1]

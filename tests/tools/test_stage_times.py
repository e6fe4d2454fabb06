"""What the quick start says of a stage's time is what was measured, here or on another machine."""

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

import mmbeitv2

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]


@pytest.fixture
def tools(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import demo_runs
    import quickstart
    import stage_times

    return SimpleNamespace(times=stage_times, runs=demo_runs, quickstart=quickstart)


CORES = len(os.sched_getaffinity(0))


@pytest.fixture
def times(tools, tmp_path, monkeypatch):
    """Times of a work folder, beside a machine where a stage of 4 epochs took 100 s."""
    monkeypatch.setattr(tools.times, 'calibrate', lambda: 0.5)

    def make(machine=None, mixed_precision=True):
        machine = dict(seconds=0.5, cores=CORES, mixed_precision=True) | (machine or {})
        stages = dict(pretrain=dict(seconds=100, amount=4))
        reference = tmp_path / 'reference.json'
        reference.write_text(json.dumps(dict(machine=machine, stages=stages)))
        return tools.times.StageTimes(tmp_path / 'work', mixed_precision, reference)

    return make


@pytest.mark.parametrize(
    ('machine', 'mixed_precision', 'trains', 'expected'),
    [
        ({}, True, True, 200),
        # A core of that machine took half as long, or it had twice as many.
        (dict(seconds=0.25), True, True, 400),
        (dict(cores=2 * CORES), True, True, 400),
        # A step takes twice the time in float32; reading photos does not.
        ({}, False, True, 400),
        ({}, False, False, 200),
        (dict(mixed_precision=False), True, True, 100),
    ],
)
def test_before_the_first_time_another_machine_is_asked(
    times, machine, mixed_precision, trains, expected
):
    announced = times(machine, mixed_precision).announce('pretrain', 8, trains)
    assert announced.seconds == pytest.approx(expected)


def test_next_time_it_is_what_it_took_here_by_the_work_there_is(times):
    first = times()
    first.finish(first.announce('pretrain', 8, True), 320)
    again = times(dict(seconds=0.1)).announce('pretrain', 2, True)
    assert again.seconds == pytest.approx(80)
    assert str(again) == 'about 80 s'


def test_what_was_done_before_does_not_count_as_a_time(times):
    first = times()
    announced = first.announce('pretrain', 8, True, partly=True)
    assert str(announced) == 'about 3.5 minutes or less, for some of it was done before'
    first.finish(announced, 3)
    assert times().announce('pretrain', 8, True).seconds == pytest.approx(200)


def test_a_stage_that_no_machine_has_timed_is_not_guessed(times):
    announced = times().announce('segment', 400, True)
    assert str(announced) == 'how long is not known yet'


@pytest.mark.parametrize(
    ('seconds', 'text'),
    [(1, '10 s'), (37, '40 s'), (94, '90 s'), (100, '1.5 minutes'), (290, '5 minutes')],
)
def test_durations_are_round(tools, seconds, text):
    assert tools.times.rounded(seconds) == text


def test_table_has_what_was_announced_beside_what_it_took(times):
    run = times()
    run.finish(run.announce('pretrain', 8, True), 260)
    run.finish(run.announce('segment', 400, True), 40)
    lines = [' '.join(line.split()) for line in run.table().splitlines()]
    assert lines == [
        'stage announced took',
        'pretrain about 3.5 minutes 260 s',
        'segment – 40 s',
        'all 5.0 minutes',
    ]


def test_the_machine_is_measured(tools):
    assert 0 < tools.times.calibrate() < 60


def test_kept_times_are_of_stages_and_of_a_machine_that_was_measured(tools):
    kept = json.loads(tools.times.REFERENCE.read_text())
    steps = tools.quickstart.together(list(tools.quickstart.STAGES))
    assert set(kept['stages']) == {', '.join(step) for step in steps}
    assert {'seconds', 'cores', 'mixed_precision'} == set(kept['machine'])


def test_work_of_a_run_is_its_epochs_or_iterations(tools, tmp_path):
    def job(config, epochs, *options):
        return tools.runs.DemoJob(tmp_path, 1, epochs, f'configs/demo/{config}.py', options)

    assert tools.runs.steps_of(job('finetune_demo', 3)) == 3
    assert tools.runs.steps_of(job('upernet_demo', None, 'train_cfg.max_iters=120')) == 120
    assert tools.runs.steps_of(job('upernet_demo', None)) > 120


@pytest.mark.parametrize(('long', 'seeds'), [(False, 1), (True, 3)])
def test_begun_runs_are_known_and_those_ahead_do_not_count(tools, tmp_path, long, seeds):
    args = SimpleNamespace(work_dir=tmp_path, long=long)

    def job(name, *options):
        return tools.runs.DemoJob(tmp_path / name, 1, 4, 'configs/demo/finetune_demo.py', options)

    pretrained, random = job('a'), job('b', tools.quickstart.RANDOM)
    random.work_dir.mkdir()
    (random.work_dir / 'last_checkpoint').write_text('epoch_1.pth')
    work_of = tools.quickstart.work_of
    assert work_of(['finetune'], [pretrained, random], args) == (seeds, True, False)
    assert work_of(['pretrain'], [pretrained, random], args) == (4 * seeds, True, False)
    pretrained.work_dir.mkdir()
    (pretrained.work_dir / 'last_checkpoint').write_text('epoch_1.pth')
    assert work_of(['finetune'], [pretrained, random], args) == (seeds, True, True)

"""Runs of tools: side by side, followed, never run twice."""

import os
import shlex
import signal
import sys

import pytest

from mmbeitv2.launch import jobs


def test_a_job_is_finished_only_by_its_own_command(tmp_path):
    job = jobs.ToolJob(tmp_path, 1, 3, ('train', 'seed=0'), after=tmp_path)
    other = jobs.ToolJob(tmp_path, 1, 3, ('train', 'seed=1'), after=tmp_path)
    assert not job.is_finished()
    job.finished.write_text(shlex.join(job.command()))
    assert job.is_finished()
    assert not other.is_finished()


def test_progress_is_read_off_the_log_of_this_start(tmp_path):
    job = jobs.ToolJob(tmp_path, 1, 4, ())
    earlier = 'INFO - Epoch(train) [1][20/50]  lr: 1e-3  loss: 9.0\n'
    now = 'INFO - Epoch(train) [3][25/50]  lr: 1e-3  loss: 0.5  loss_rec: 0.4\n'
    (tmp_path / 'log.txt').write_text(earlier + now)
    assert jobs.done(job, len(earlier)) == (2.5 / 4, 'loss 0.5')
    assert jobs.done(job, len(earlier + now)) == (0.0, '')


@pytest.mark.parametrize('epochs', [None, 4])
def test_progress_of_a_run_that_counts_iterations(epochs, tmp_path):
    job = jobs.ToolJob(tmp_path, 1, epochs, ())
    (tmp_path / 'log.txt').write_text('INFO - Iter(train) [ 30/120]  loss: 1.5\n')
    assert jobs.done(job, 0) == (0.25, 'loss 1.5')


@pytest.fixture
def sleeper(tmp_path, monkeypatch):
    """Jobs that write when they start and end, on a machine of two cores."""
    monkeypatch.setattr(jobs.os, 'sched_getaffinity', lambda _: {0, 1})
    times = tmp_path / 'times.txt'
    code = 'import sys, time; f = open(sys.argv[1], "a", buffering=1)\n'
    code += 'print("start", sys.argv[2], file=f); time.sleep(1); print("end", sys.argv[2], file=f)'

    class Sleeper(jobs.Job):
        def command(self):
            return [sys.executable, '-c', code, str(times), self.work_dir.name]

    def run(*processes):
        runs = [Sleeper(tmp_path / str(i), n, 1) for i, n in enumerate(processes)]
        jobs.run_together(runs, os.environ)
        assert all(job.is_finished() for job in runs)
        return [line.split() for line in times.read_text().splitlines()]

    return run


def test_as_many_runs_as_cores_are_under_way_and_in_order(sleeper):
    log = sleeper(1, 1, 1, 2)
    under_way, most = set(), []
    for _, name in log:
        under_way ^= {name}
        most.append(len(under_way))
    assert max(most) == 2
    assert [name for what, name in log if what == 'start'] in (list('0123'), list('1023'))
    # The last takes both cores.
    assert log[-2:] == [['start', '3'], ['end', '3']]


def test_a_run_that_needs_more_cores_than_there_are_has_them_all(sleeper):
    assert [name for what, name in sleeper(4, 1) if what == 'start'] == ['0', '1']


def test_long_options_do_not_bury_the_command():
    shown = jobs.shortened(['python', 'indices=[' + '1,' * 200 + '2]'])
    assert shown[0] == 'python'
    assert shown[1].startswith('indices=[1,1')
    assert shown[1].endswith('…')
    assert len(shown[1]) == jobs.LONGEST_SHOWN


def test_a_failed_run_shows_its_log_and_ends_the_tool(tmp_path, capsys):
    class Broken(jobs.Job):
        def command(self):
            return [sys.executable, '-c', 'raise SystemExit("no such thing")']

    job = Broken(tmp_path, 1, 1)
    with pytest.raises(SystemExit, match=r'failed; the whole output is in .*log\.txt'):
        jobs.run_together([job], os.environ)
    assert 'no such thing' in capsys.readouterr().err
    assert not job.is_finished()


def test_a_tool_is_run_again_after_what_it_reads_was_written(tmp_path):
    read = tmp_path / 'read.txt'
    read.write_text('old')
    job = jobs.ToolJob(tmp_path / 'run', 1, None, (sys.executable, '-c', ''), after=read)
    looks = []
    jobs.run_together([job], os.environ, lambda: looks.append(1))
    assert job.is_finished()
    assert looks
    os.utime(read, (2**33, 2**33))
    assert not job.is_finished()


def test_an_interrupted_tool_says_how_it_goes_on(capsys):
    def main():
        raise KeyboardInterrupt

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    with pytest.raises(SystemExit) as ending:
        jobs.end_cleanly(main)
    for number, handler in before.items():
        signal.signal(number, handler)
    assert ending.value.code == 130
    said = capsys.readouterr().err.strip()
    assert said == 'interrupted: the same command continues where it stopped'

"""gpu.sh: rows that fail, hang or say nothing cost themselves alone; the comparisons can fail."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / 'tools' / 'benchmark'

# Scripts of rows; the last two arguments are --json FILE.
SCRIPTS = {
    'good': """
        with open(out.with_suffix('.runs'), 'a') as runs:
            runs.write('x')
        out.write_text(json.dumps(dict(key_figures='7 images/s', machine=dict(device='here'))))
    """,
    'bad': """
        print(*range(40), sep='\\n')
        sys.exit('no kernel image is available')
    """,
    'hanging': """
        child = subprocess.Popen(['sleep', '600'])
        out.with_suffix('.pid').write_text(str(child.pid))
        out.write_text('{"half":')
        time.sleep(600)
    """,
    'silent': '',
    'strange': 'out.write_text(json.dumps(dict(rates=7)))',
}


@pytest.fixture(autouse=True)
def tools(monkeypatch):
    """The benchmarks import their neighbours, as when they are run."""
    monkeypatch.syspath_prepend(FOLDER)


@pytest.fixture
def row(tmp_path):
    """Make a row that runs one of the scripts."""
    from textwrap import dedent

    from rows import Row

    head = """import json, os, subprocess, sys, time
from pathlib import Path
out = Path(sys.argv[-1])
"""

    def make(name: str, limit: float = 60, *options: str) -> Row:
        script = tmp_path / f'{name}.py'
        script.write_text(head + dedent(SCRIPTS[name]))
        return Row(name, 1, (str(script), *options), limit)

    return make


@pytest.fixture
def run(tmp_path):
    """Run rows; gives the failed ones and what was said."""
    from rows import run_rows

    def call(*rows, code='a', **options):
        said = []
        failed = run_rows(rows, tmp_path / 'out', say=said.append, state=lambda: code, **options)
        return failed, '\n'.join(said)

    return call


@pytest.fixture
def out(tmp_path):
    return tmp_path / 'out'


def summary(out: Path) -> dict:
    return json.loads((out / 'summary.json').read_text())['rows']


class TestRows:
    def test_a_row_leaves_output_measurements_and_a_line_on_the_page(self, row, run, out):
        assert run(row('good'), note='A trial.')[0] == []
        assert (out / 'good.txt').is_file()
        assert summary(out)['good']['result']['machine'] == dict(device='here')
        page = (out / 'summary.md').read_text()
        assert '| good | ok | 0 | 7 images/s |' in page
        assert page.startswith('# Benchmarks\n\nA trial.\n\ndevice here\n')
        assert '## Stage 1: correctness' in page

    def test_a_failing_row_shows_its_end_and_the_rest_goes_on(self, row, run, out):
        failed, said = run(row('bad'), row('good'))
        assert failed == ['bad']
        assert '    no kernel image is available' in said
        assert '    39' in said
        assert '    5\n' not in said
        assert 'good: ok' in said
        assert summary(out)['bad']['status'] == 'failed'
        assert '| bad | failed | 0 | exit code 1 |' in (out / 'summary.md').read_text()

    def test_a_hanging_row_is_ended_with_all_that_it_has_started(self, row, run, out):
        failed, said = run(row('hanging', 3), row('good'))
        assert failed == ['hanging']
        assert 'hanging: timed out' in said
        assert 'good: ok' in said
        child = int((out / 'hanging.pid').read_text())
        state = Path(f'/proc/{child}/stat')
        assert not state.exists() or state.read_text().split()[2] == 'Z'

    @pytest.mark.parametrize(
        ('name', 'reason'),
        [('silent', 'no figures in silent.json'), ('strange', 'no figures in strange.json')],
    )
    def test_a_row_without_measurements_has_failed(self, row, run, name, reason):
        failed, said = run(row(name))
        assert failed == [name]
        assert reason in said

    def test_measurements_of_an_earlier_run_are_not_taken_for_this_ones(self, row, run, out):
        out.mkdir()
        (out / 'silent.json').write_text('{"key_figures": "old"}')
        assert run(row('silent'))[0] == ['silent']

    def test_the_summary_is_there_before_the_last_row_has_ended(self, row, run, out, monkeypatch):
        import rows

        real = rows.run_row

        def interrupted(row, *args):
            if row.name == 'bad':
                raise KeyboardInterrupt
            return real(row, *args)

        monkeypatch.setattr(rows, 'run_row', interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(row('good'), row('bad'))
        assert summary(out).keys() == {'good'}

    def test_environment_and_folder_reach_the_row(self, row, run, out, monkeypatch):
        monkeypatch.setitem(
            SCRIPTS, 'good', "out.write_text(json.dumps(dict(key_figures=str(\n"
            "[os.environ['PLACE'], sys.argv[1]]))))"
        )  # fmt: skip
        run(row('good', 60, '{folder}/work'), environment=dict(PLACE='there'))
        assert summary(out)['good']['figures'] == str(['there', f'{out}/work'])
        # Another folder is no other command.
        assert '{folder}/work' in summary(out)['good']['command']


class TestRunningAgain:
    def runs(self, out: Path) -> int:
        return len((out / 'good.runs').read_text())

    def test_a_row_that_succeeded_is_not_run_again(self, row, run, out):
        run(row('good'))
        failed, said = run(row('good'))
        assert (failed, self.runs(out)) == ([], 1)
        assert 'good: ok before, 7 images/s' in said

    @pytest.mark.parametrize('changed', ['code', 'command', 'again'])
    def test_but_if_code_or_command_changed_or_it_is_asked_for(self, row, run, out, changed):
        run(row('good'))
        options = dict(code=dict(code='b'), again=dict(again=True)).get(changed, {})
        run(row('good', 60, *['--batch=2'] * (changed == 'command')), **options)
        assert self.runs(out) == 2

    def test_a_row_that_failed_is_run_again(self, row, run, monkeypatch):
        assert run(row('bad'))[0] == ['bad']
        monkeypatch.setitem(SCRIPTS, 'bad', SCRIPTS['good'])
        assert run(row('bad'))[0] == []

    def test_rows_of_earlier_calls_stay_in_the_summary(self, row, run, out):
        run(row('bad'))
        run(row('good'))
        assert summary(out).keys() == {'bad', 'good'}

    def test_code_is_what_the_files_hold(self, tmp_path):
        from rows import code_state

        for folder in ('mmbeitv2', 'configs', 'tools'):
            (tmp_path / folder).mkdir()
        file = tmp_path / 'tools' / 'train.py'
        file.write_text('1')
        before = code_state(tmp_path)
        assert code_state(tmp_path) == before
        file.write_text('2')
        assert code_state(tmp_path) != before


class TestCommand:
    def shell(self, *arguments: object) -> subprocess.CompletedProcess:
        path = f'{Path(sys.executable).parent}:{os.environ["PATH"]}'
        return subprocess.run(
            ['bash', FOLDER / 'gpu.sh', *map(str, arguments)],
            capture_output=True,
            text=True,
            env={**os.environ, 'PATH': path, 'CUDA_VISIBLE_DEVICES': ''},
        )

    def test_the_plan_is_listed_with_limits_and_their_sum(self):
        from gpu_rows import gpu_rows

        listed = self.shell('--list')
        assert listed.returncode == 0, listed.stderr
        minutes = sum(row.limit for row in gpu_rows()) / 60
        assert f'{len(gpu_rows())} rows, at most {minutes:.0f} minutes together' in listed.stdout
        for row in gpu_rows():
            assert f'  {row.name:<24} at most {row.limit:>4.0f} s' in listed.stdout

    def test_a_machine_without_a_gpu_is_told_so_in_one_line(self, tmp_path):
        refused = self.shell(tmp_path)
        assert refused.returncode == 2
        assert refused.stderr == (
            'error: torch sees no GPU: give `cpu` after the folder to try all commands on the CPU\n'
        )

    def test_rows_are_chosen_by_name_and_stage(self):
        from gpu import chosen
        from gpu_rows import gpu_rows

        rows = gpu_rows()
        assert [r.name for r in chosen(rows, 'rate,count', None)] == ['rate', 'count']
        assert {r.stage for r in chosen(rows, None, '1,3')} == {1, 3}
        assert [r.name for r in chosen(rows, 'rate,train-vqkd', '1')] == ['train-vqkd']
        assert chosen(rows, None, None) == rows

    @pytest.mark.parametrize(
        ('only', 'stage', 'message'),
        [
            ('ratio', None, "--only names 'ratio', allowed: agree-pretraining, "),
            (None, '4', "--stage names '4', allowed: 1, 2, 3"),
        ],
    )
    def test_an_unknown_row_or_stage_is_named_with_the_known_ones(self, only, stage, message):
        from gpu import chosen
        from gpu_rows import gpu_rows

        with pytest.raises(ValueError, match=message):
            chosen(gpu_rows(), only, stage)

    @pytest.mark.parametrize(
        ('only', 'stage', 'message'),
        [
            (
                'count',
                '1,3',
                '--stage 1,3 holds none of the rows of --only count, which .* stage 2',
            ),
            (',', None, '--only names nothing, allowed: agree-pretraining, '),
            (None, '', '--stage names nothing, allowed: 1, 2, 3'),
        ],
    )
    def test_to_choose_no_row_is_refused(self, only, stage, message):
        from gpu import chosen
        from gpu_rows import gpu_rows

        with pytest.raises(ValueError, match=message):
            chosen(gpu_rows(), only, stage)

    def test_a_device_in_the_folders_place_is_none(self, tmp_path, capsys):
        from gpu import parse_args

        assert parse_args(['--list', 'cpu']).device == 'cpu'
        (tmp_path / 'notes.txt').touch()
        for folder, message in (
            ('cpu', 'give a folder for the results'),
            (str(tmp_path / 'notes.txt'), r'notes.txt is a file'),
        ):
            with pytest.raises(SystemExit, match='2'):
                parse_args([folder])
            assert message in capsys.readouterr().err

    def test_every_row_has_a_name_of_its_own_and_a_script(self):
        from gpu_rows import cpu_rows, gpu_rows

        for rows in (gpu_rows(), cpu_rows(True), cpu_rows(False)):
            assert len({row.name for row in rows}) == len(rows)
            assert {row.stage for row in rows} == {1, 2, 3}
            assert all((FOLDER / row.command[0]).is_file() for row in rows)

    def test_options_of_every_row_are_known_to_its_script(self):
        from gpu_rows import cpu_rows, gpu_rows

        for row in (*gpu_rows(), *cpu_rows(True)):
            script = (FOLDER / row.command[0]).read_text()
            # What the comparisons share lies in paired.py.
            shared = (FOLDER / 'paired.py').read_text() if 'parser(__doc__' in script else ''
            added = {'--compile': 'compile_option(', '--keep': 'keep_option('}
            for option in row.command[1:]:
                if option.startswith('--'):
                    known = added.get(option, f"'{option}'")
                    assert known in script + shared * (option not in added), (row.name, option)


class TestFigures:
    def test_a_comparison_says_our_rate_and_the_gain_over_each_peer(self):
        from figures import key_figures

        comparison = dict(batch=8, turns=dict(ours=[2, 1, 4]), speedup=dict(timm=dict(median=1.5)))
        assert key_figures(dict(results=dict(a=comparison))) == 'a: 4 images/s, 1.50 times timm'
        comparison['speedup'] = {}
        assert key_figures(dict(results=dict(a=comparison))) == 'a: 4 images/s, no peer'

    def test_growth_is_of_the_last_over_the_first(self):
        from figures import key_figures

        series = {'1024': dict(seconds=2), '4096': dict(seconds=3), '65536': dict(seconds=9)}
        assert key_figures(dict(codes=series)) == 'codes 1024 to 65536: 4.5 times the time'


class TestPeers:
    def test_an_absent_peer_is_named_and_left_out(self, monkeypatch, capsys):
        import peers
        from steps import quantizer

        monkeypatch.setitem(sys.modules, 'vector_quantize_pytorch', None)
        ours = quantizer(16, 4)
        built = peers.if_installed('vqp', lambda: peers.vector_quantize_pytorch(ours))
        assert built == {}
        assert 'no peer: vqp needs the module vector_quantize_pytorch' in capsys.readouterr().out

    def test_ours_is_timed_without_peers(self):
        from argparse import Namespace

        import paired

        args = Namespace(device='cpu', pairs=2, steps=1, batch=2, precision='float32')
        result = paired.compare(dict(ours=lambda: torch.ones(9).sum()), args)
        assert len(result['turns']['ours']) == 2
        assert result['speedup'] == {}
        assert 'ours' in paired.table('a step', result)


@pytest.fixture(scope='module')
def demo_case():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        import agreement

        torch.manual_seed(0)
        return agreement.pretraining(2)


class TestAgreement:
    @pytest.fixture
    def case(self, demo_case):
        import agreement

        return agreement.on_device(demo_case, 'cpu')

    def test_the_same_step_agrees(self, case):
        import agreement

        other = agreement.on_device(case, 'cpu')
        assert agreement.ties(case, other) == 0
        ours, theirs = agreement.step(case), agreement.step(other)
        assert ours.keys() == agreement.TOLERANCES.keys()
        assert {'loss_mim', 'loss_cls'} <= ours['losses'].keys()
        for what, tensors in ours.items():
            assert agreement.largest(tensors, theirs[what])[0] < agreement.TOLERANCES[what]

    def test_a_wrong_gradient_is_named(self, case):
        import agreement

        gradients = agreement.step(case)['gradients']
        name = max(gradients, key=lambda name: gradients[name].norm())
        found = agreement.largest(gradients, {**gradients, name: gradients[name] * 1.001})
        with pytest.raises(SystemExit, match=rf'error: gradients {name} differs by 1\.0e-03'):
            agreement.check('gradients', found, agreement.TOLERANCES['gradients'])

    def test_a_gradient_of_nothing_but_rounding_is_not_compared_digit_by_digit(self):
        import agreement

        here = dict(a=torch.tensor(1.0), b=torch.tensor(1e-10), c=torch.tensor(1.0))
        there = {**here, 'b': torch.tensor(2e-10)}
        assert agreement.largest(here, there)[0] < 1e-6

    def test_a_missing_gradient_is_named(self):
        import agreement

        with pytest.raises(SystemExit, match=r"only one device gives \['b'\]"):
            agreement.largest(dict(a=torch.ones(1), b=torch.ones(1)), dict(a=torch.ones(1)))

    def test_a_difference_that_is_no_number_is_not_accepted(self):
        import agreement

        with pytest.raises(SystemExit, match='differs by nan'):
            agreement.check('losses', (float('nan'), 'loss'), 1.0)

    def test_ties_are_counted(self, case):
        import agreement

        other = agreement.on_device(case, 'cpu')
        chosen = agreement.nearest(case)[1]
        code, twin = chosen[0], next(c for c in range(128) if c not in chosen)
        for side, longer in ((case, 0.0), (other, 1e-6)):
            codebook = agreement.quantizer_of(side.model).codebook
            codebook[twin] = codebook[code] * (1 + longer)
            codebook[code] *= 1 + 1e-6 - longer
        expected = int((chosen == code).sum())
        assert agreement.ties(case, other) == expected > 0

    def test_another_code_that_is_no_tie_is_an_error(self, case):
        import agreement

        other = agreement.on_device(case, 'cpu')
        codebook = agreement.quantizer_of(other.model).codebook
        codebook.copy_(codebook.roll(1, 0))
        with pytest.raises(SystemExit, match='codes differ whose cosines differ by'):
            agreement.ties(case, other)


class TestTraining:
    def test_a_falling_loss_is_told(self):
        from training import check_falling

        assert check_falling({1: 9.0, 10: 4.0, 50: 2.0}, 50) == 'loss 4 to 2'

    @pytest.mark.parametrize(
        ('losses', 'message'),
        [
            ({10: 2.0, 50: 2.0}, 'does not fall: 2 to 2'),
            ({10: 2.0, 11: float('nan'), 50: 1.0}, 'the loss of iteration 11 is nan'),
            ({10: 2.0, 50: float('nan')}, 'the loss of iteration 50 is nan'),
        ],
    )
    def test_a_loss_that_does_not_fall_is_an_error(self, losses, message):
        from training import check_falling

        with pytest.raises(SystemExit, match=message):
            check_falling(losses, 50)

    def test_a_killed_run_must_go_on_after_its_newest_checkpoint(self, tmp_path):
        from training import check_resumed, newest_checkpoint

        (tmp_path / 'last_checkpoint').write_text('work/epoch_2.pth\n')
        assert newest_checkpoint(tmp_path) == 20
        (tmp_path / 'last_checkpoint').write_text('work/iter_20.pth')
        assert newest_checkpoint(tmp_path) == 20
        assert check_resumed([21, 22, 50], 20, 25, 50) == 'killed after 25, went on at 21'
        for resumed in ([1, 2, 50], [26, 50], [21, 49]):
            with pytest.raises(SystemExit, match='not from 21 to 50'):
                check_resumed(resumed, 20, 25, 50)

    def test_iterations_are_read_from_both_kinds_of_log(self):
        from training import LOGGED

        epochs = LOGGED.search('INFO - Epoch(train)  [3][ 4/10]  lr: 1e-3').groups()
        assert epochs == ('3', '4')
        assert LOGGED.search('INFO - Iter(train) [ 4/50]  lr: 1e-3').groups() == (None, '4')

    @pytest.mark.parametrize('kind', ['vqkd', 'pretraining', 'finetuning', 'segmentation'])
    def test_options_of_a_run_have_a_place_in_its_config(self, kind, tmp_path):
        from training import command

        from mmbeitv2.launch.config import load_config

        _, _, config, *options = command(kind, tmp_path, 'float32', 20)
        plain = load_config(ROOT / config)
        for option in options[options.index('--cfg-options') + 1 :]:
            *way, last = option.split('=')[0].split('.')
            node = plain
            for name in way:
                node = node[int(name) if name.isdigit() else name]
            # What a demo config leaves to a default may be added, nothing else.
            assert last in node or last == 'kmeans_init', option


def test_a_profile_lists_what_takes_time():
    from profiling import times

    a = torch.randn(300, 300)
    found = times(lambda: (a @ a).add_(1), 'cpu')
    assert found.keys() == {'operators'}
    assert {'aten::mm', 'aten::add_'} <= found['operators'].keys()
    values = list(found['operators'].values())
    assert values == sorted(values, reverse=True)

"""Hooks: a codebook well begun and watched, runs that stop on nonsense, plain checkpoints."""

import importlib.metadata
import json
import re
from pathlib import Path

import pytest
import torch
from mmengine.hooks import Hook
from torch.testing import assert_close

import mmbeitv2
from mmbeitv2.engine import checkpoint_hook, data_wait_hook
from mmbeitv2.models import VQKD
from mmbeitv2.models.quantizer import perplexity


@pytest.fixture
def model(vqkd_config, timm_teacher_config):
    """VQ-KD model whose codebook is empty."""
    return VQKD(**{**vqkd_config, 'teacher': timm_teacher_config})


class TestCodebookInit:
    hook = dict(type='mmbeitv2.CodebookInitHook', vectors_per_code=2)

    def test_gathers_several_batches(self, model, make_runner, log_of):
        """Two images have 32 vectors, half as many as there are codes."""
        runner = make_runner(model, hooks=[self.hook])
        runner.train()
        assert model.quantize.initted
        assert runner.iter == 4
        assert 'k-means of 128 vectors into 64 codes' in log_of(runner)

    def test_too_few_vectors_are_refused_before_the_first_step(self, model, make_runner):
        runner = make_runner(model, num_images=2, hooks=[self.hook])
        with pytest.raises(ValueError, match=r'num_codes is 64, available are 32'):
            runner.train()
        assert runner.iter == 0
        assert not model.quantize.initted

    def test_resumed_codebook_is_left_alone(self, model, make_runner, log_of, tmp_path):
        make_runner(model, hooks=[self.hook]).train()
        trained = model.quantize.codebook.clone()
        model.quantize.codebook.zero_()
        runner = make_runner(
            model,
            hooks=[self.hook],
            resume=True,
            load_from=str(tmp_path / 'work/epoch_1.pth'),
            work_dir=tmp_path / 'resumed',
        )
        runner.train()
        assert runner.epoch == 1
        assert torch.equal(model.quantize.codebook, trained)
        assert 'k-means' not in log_of(runner)


class TestCodebookUsage:
    hooks = (
        dict(type='mmbeitv2.CodebookInitHook', vectors_per_code=2),
        dict(type='mmbeitv2.CodebookUsageHook', warn_below=1.01),
    )

    def test_logs_usage_and_perplexity_of_each_epoch(self, model, make_runner, log_of):
        runner = make_runner(model, hooks=self.hooks, epochs=2)
        runner.train()
        counts = model.quantize.code_counts
        assert counts.sum() == 8 * 16  # of the last epoch alone
        (scalars,) = Path(runner.work_dir).rglob('scalars.json')
        lines = [json.loads(line) for line in scalars.read_text().splitlines()]
        logged = [line for line in lines if 'codebook_usage' in line]
        assert len(logged) == 2
        assert logged[1]['codebook_usage'] == pytest.approx((counts > 0).float().mean().item())
        assert logged[1]['codebook_perplexity'] == pytest.approx(perplexity(counts).item())
        assert 'of 64 codes used this epoch' in log_of(runner)

    def test_warns_of_a_collapse(self, model, make_runner, log_of):
        runner = make_runner(model, hooks=self.hooks)
        runner.train()
        assert 'the codebook is collapsing: only' in log_of(runner)

    @pytest.mark.parametrize(
        ('revive_below', 'advice'), [(None, 'set revive_below'), (0.1, 'above today’s 0.1')]
    )
    def test_warns_of_codes_that_are_all_used_but_few_often(
        self, model, make_runner, log_of, revive_below, advice
    ):
        """An own run's first epoch had used 100 % of 256 codes, at a perplexity of 6.1."""
        hook = dict(type='mmbeitv2.CodebookUsageHook')
        runner = make_runner(model, hooks=[self.hooks[0], hook, _Crowd(6.1)])
        model.quantize.revive_below = revive_below
        runner.train()
        log = log_of(runner)
        assert '100.0% of 64 codes used this epoch, perplexity 6.1' in log
        assert 'the codebook is collapsing: 100.0% of its codes are used, but as unevenly' in log
        assert 'as if there were 6.1' in log
        assert advice in log

    def test_is_quiet_above_the_limit(self, model, make_runner, log_of):
        quiet = dict(type='mmbeitv2.CodebookUsageHook', warn_below=0.0)
        runner = make_runner(model, hooks=[self.hooks[0], quiet])
        runner.train()
        assert 'collapsing' not in log_of(runner)


class _Crowd(Hook):
    """Counts of an epoch that used every code, almost all of them rarely."""

    priority = 'HIGH'

    def __init__(self, wanted):
        self.wanted = wanted

    def after_train_epoch(self, runner):
        counts = runner.model.quantize.code_counts
        low, high = 0.0, 1e6
        for _ in range(100):
            middle = (low + high) / 2
            counts.fill_(1)[:6] += middle
            low, high = (middle, high) if perplexity(counts) > self.wanted else (low, middle)


class TestFiniteLoss:
    @pytest.fixture
    def spoiled(self, vqkd):
        """Its loss is not a number."""
        vqkd.teacher.features = torch.full((2, 16, 24), float('nan'))
        return vqkd

    @pytest.mark.parametrize(('interval', 'iteration'), [(1, 1), (2, 2), (10, 4)])
    def test_stops_and_names_the_images(self, spoiled, make_runner, interval, iteration):
        """At the latest before the end of an epoch, where a checkpoint is saved."""
        hook = dict(type='mmbeitv2.FiniteLossHook', interval=interval)
        runner = make_runner(spoiled, hooks=[hook])
        with pytest.raises(FloatingPointError) as error:
            runner.train()
        message = str(error.value)
        assert f'not finite at iteration {iteration}' in message
        assert 'loss_rec' in message
        assert message.count('photo_') == 2
        assert not list(Path(runner.work_dir).glob('*.pth'))

    def test_lets_finite_losses_pass(self, vqkd, make_runner):
        runner = make_runner(vqkd, hooks=[dict(type='mmbeitv2.FiniteLossHook')])
        runner.train()
        assert runner.iter == 4


class TestPlainCheckpoint:
    def test_opens_as_weights_only(self, vqkd, make_runner, tmp_path):
        make_runner(vqkd).train()
        checkpoint = torch.load(tmp_path / 'work/epoch_1.pth', weights_only=True)
        assert {'state_dict', 'optimizer', 'message_hub', 'meta'} <= set(checkpoint)
        assert torch.equal(
            checkpoint['state_dict']['quantize.embedding.weight'], vqkd.quantize.codebook
        )

    def test_log_history_survives_a_resume(self, vqkd, make_runner, tmp_path):
        first = make_runner(vqkd)
        first.train()
        history = first.message_hub.get_scalar('train/loss').data
        second = make_runner(
            vqkd, epochs=2, resume=True, load_from=str(tmp_path / 'work/epoch_1.pth')
        )
        second.train()
        continued = second.message_hub.get_scalar('train/loss').data
        assert len(continued[0]) == 8
        for before, after in zip(history, continued):
            assert after[:4].tolist() == before.tolist()


class Clock(Hook):
    """A clock that goes ten minutes an iteration."""

    seconds = 0

    def after_train_iter(self, *args, **kwargs):
        self.seconds += 600


class TestCheckpoint:
    @pytest.fixture
    def saved(self, vqkd, make_runner, monkeypatch):
        """Epochs or iterations of which seven of ten minutes leave a checkpoint."""

        def train(**options):
            clock = Clock()
            monkeypatch.setattr(checkpoint_hook, 'monotonic', lambda: clock.seconds)
            hook = dict(type='mmbeitv2.CheckpointHook', filename_tmpl='clock_{}.pth', **options)
            lengths = (
                dict(num_images=2, epochs=7)
                if options.get('by_epoch', True)
                else dict(num_images=14, epochs=1)
            )
            runner = make_runner(vqkd, hooks=[clock, hook], **lengths)
            runner.train()
            return sorted(int(p.stem[6:]) for p in Path(runner.work_dir).glob('clock_*.pth'))

        return train

    @pytest.mark.parametrize(
        ('options', 'expected'),
        [
            ({}, [3, 6, 7]),
            (dict(minutes=5), [1, 2, 3, 4, 5, 6, 7]),
            (dict(minutes=100), [7]),
            (dict(interval=5), [3, 5, 7]),
            (dict(minutes=None, interval=2), [2, 4, 6, 7]),
            (dict(minutes=20, max_keep_ckpts=2), [6, 7]),
            (dict(minutes=5, save_begin=4), [4, 5, 6, 7]),
        ],
    )
    def test_is_saved_by_the_clock_besides_the_interval(self, saved, options, expected):
        assert saved(**options) == expected

    def test_looks_at_the_clock_every_hundred_iterations(self, saved, monkeypatch):
        assert checkpoint_hook.ITERATIONS_BETWEEN_LOOKS == 100
        monkeypatch.setattr(checkpoint_hook, 'ITERATIONS_BETWEEN_LOOKS', 2)
        assert saved(by_epoch=False) == [4, 7]

    def test_negative_time_is_refused(self):
        with pytest.raises(ValueError, match='minutes is -1, allowed: 0 or more'):
            checkpoint_hook.CheckpointHook(minutes=-1)


class TestWeightAverage:
    """Four iterations of two images, two of which make an update."""

    @pytest.fixture
    def average(self, vqkd, make_runner):
        """Average of a run's weights after it, and the weights after every iteration."""

        def train(accumulate, **options):
            weights = []

            class Keep(Hook):
                priority = 'VERY_HIGH'

                def after_train_iter(self, runner, *args, **kwargs):
                    weights.append(runner.model.decode_task_layer[2].weight.detach().clone())

            hook = dict(type='mmbeitv2.EMAHook', momentum=0.25, **options)
            runner = make_runner(vqkd, hooks=[Keep(), hook])
            runner.optim_wrapper['accumulative_counts'] = accumulate
            runner.train()
            (hook,) = [h for h in runner.hooks if type(h).__name__ == 'EMAHook']
            return hook.ema_model, weights

        return train

    @pytest.mark.parametrize('accumulate', [1, 2, 3])
    def test_counts_updates(self, average, accumulate):
        model, weights = average(accumulate)
        # The last iteration of a run makes an update of what has been accumulated.
        updated = {1: [0, 1, 2, 3], 2: [1, 3], 3: [2, 3]}[accumulate]
        expected = weights[updated[0]]
        for index in updated[1:]:
            expected = 0.75 * expected + 0.25 * weights[index]
        assert model.steps == len(updated)
        assert_close(model.module.decode_task_layer[2].weight, expected)

    def test_starts_from_the_weights_at_its_first_iteration(self, average):
        model, weights = average(2, begin_iter=4)
        assert_close(model.module.decode_task_layer[2].weight, weights[3])


class TestImagesPerSecond:
    @pytest.fixture
    def train(self, vqkd, make_runner):
        """Lines of the numbers that a run logs, and its runner."""

        def run(num_images=8, accumulate=1):
            runner = make_runner(
                vqkd, num_images=num_images, hooks=[dict(type='mmbeitv2.ImagesPerSecondHook')]
            )
            runner.optim_wrapper['accumulative_counts'] = accumulate
            runner.train()
            (scalars,) = Path(runner.work_dir).rglob('scalars.json')
            return runner, [json.loads(line) for line in scalars.read_text().splitlines()]

        return run

    @pytest.mark.parametrize('accumulate', [1, 2])
    def test_is_the_batch_over_the_logged_time(self, train, accumulate):
        _, lines = train(accumulate=accumulate)
        assert len(lines) == 4
        for line in lines:
            assert line['images_per_second'] * line['time'] == pytest.approx(2, rel=1e-3)

    def test_counts_the_images_of_a_short_batch(self, train):
        _, lines = train(num_images=7)
        per_step = lines[-1]['images_per_second'] * lines[-1]['time']
        assert per_step == pytest.approx(7 / 4, rel=1e-3)

    def test_stands_in_the_log(self, train, log_of):
        runner, _ = train()
        assert re.search(r'time: \d\.\d+ .*images_per_second: \d+\.\d+', log_of(runner))


class TestDataWait:
    @pytest.fixture
    def train(self, vqkd, make_runner):
        """Lines of the numbers that a run logs, and its runner."""

        def run(warn_above, num_images=24):
            hook = dict(type='mmbeitv2.DataWaitHook', warn_above=warn_above)
            runner = make_runner(vqkd, num_images=num_images, hooks=[hook])
            runner.train()
            (scalars,) = Path(runner.work_dir).rglob('scalars.json')
            return runner, [json.loads(line) for line in scalars.read_text().splitlines()]

        return run

    def test_is_the_logged_data_time_over_the_time(self, train):
        _, lines = train(1.0)
        assert len(lines) == 12
        for line in lines:
            assert 0 < line['data_wait'] < 1
            assert line['data_wait'] * line['time'] == pytest.approx(line['data_time'], rel=1e-3)

    def test_warns_once_an_epoch_with_the_cure(self, train, log_of):
        runner, _ = train(0.0)
        (warning,) = re.findall('.*waiting for data.*', log_of(runner))
        assert 'of the last 11 iterations' in warning
        assert 'set num_workers to 1 or more' in warning

    @pytest.mark.parametrize(('warn_above', 'num_images'), [(1.0, 24), (0.0, 20)])
    def test_is_quiet_below_the_limit_and_after_few_iterations(
        self, train, log_of, warn_above, num_images
    ):
        runner, _ = train(warn_above, num_images)
        assert 'waiting for data' not in log_of(runner)

    def test_cure_of_a_cpu_machine_is_not_more_workers(self, monkeypatch):
        """They would share the cores with the training."""
        monkeypatch.setattr(data_wait_hook, 'get_device', lambda: 'cpu')
        assert 'share the cores' in data_wait_hook._cure(4)
        monkeypatch.setattr(data_wait_hook, 'get_device', lambda: 'cuda')
        assert 'raise num_workers' in data_wait_hook._cure(4)


def test_run_record_says_what_ran(vqkd, make_runner):
    runner = make_runner(vqkd, hooks=[dict(type='mmbeitv2.RunRecordHook')])
    runner.train()
    (path,) = Path(runner.work_dir).rglob('run.json')
    record = json.loads(path.read_text())
    assert record['seed'] == 0
    assert record['processes'] == 1
    assert record['packages']['torch'] == importlib.metadata.version('torch')
    state = record['mmbeitv2']
    assert state['version'] == mmbeitv2.__version__
    if (Path(mmbeitv2.__file__).parents[1] / '.git').exists():
        assert re.fullmatch(r'[0-9a-f]{40}', state['commit'])


def test_resumed_run_equals_the_uninterrupted_one(
    vqkd_config, timm_teacher_config, make_runner, tmp_path
):
    """Same weights, same codebook, same losses: nothing is lost between the two halves."""
    vqkd_config['teacher'] = timm_teacher_config
    hooks = [dict(type='mmbeitv2.CodebookInitHook', vectors_per_code=2)]
    whole = VQKD(**vqkd_config)
    make_runner(whole, hooks=hooks, epochs=2, work_dir=tmp_path / 'whole').train()
    make_runner(VQKD(**vqkd_config), hooks=hooks, epochs=1, work_dir=tmp_path / 'halves').train()
    resumed = VQKD(**vqkd_config)
    runner = make_runner(resumed, hooks=hooks, epochs=2, work_dir=tmp_path / 'halves', resume=True)
    runner.train()
    assert runner.iter == 8
    expected = whole.state_dict()
    for name, value in resumed.state_dict().items():
        assert_close(value, expected[name], atol=1e-6, rtol=1e-5, msg=name)

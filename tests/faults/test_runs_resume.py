"""A resumed run is the run that was not interrupted, bit for bit, or it is refused."""

import copy
import multiprocessing
import os
import random
import re
import signal

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from torch import nn

from mmbeitv2.datasets.sampling import EpochSampler
from mmbeitv2.engine.resumed_position import Position, RunShape, resumed_position
from mmbeitv2.errors import InputError


class Weights(nn.Module):
    """Four weights whose step depends on the images, their order, and every kind of randomness."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4, 4))
        self.bias = nn.Parameter(torch.ones(4))
        self.seen = []

    def train_step(self, data, optim_wrapper):
        self.seen += [int(index) for index in data]
        values = torch.tensor([float(int(index)) for index in data])
        noise = torch.rand(4) + random.random() + np.random.rand()
        loss = ((self.weight @ noise).sum() * values).mean() + (self.bias * noise).square().sum()
        with optim_wrapper.optim_context(self):
            optim_wrapper.update_params(loss)
        return dict(loss=loss.detach())


class Indices(torch.utils.data.Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return int(index)


class StopAfter(Hook):
    """Ends a run as a kill would, without any clean-up, but within this process."""

    priority = 'LOWEST'

    def __init__(self, iterations):
        self.iterations = iterations

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter + 1 == self.iterations:
            raise Killed


class Signal(Hook):
    """Sends this process a signal within a step, and learns what became of the others."""

    def __init__(self, iteration, name='SIGTERM'):
        self.iteration, self.name = iteration, name

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == self.iteration:
            os.kill(os.getpid(), getattr(signal, self.name))


class Killed(Exception):
    pass


class Rates(Hook):
    """The learning rate and weight decay of every iteration and group."""

    def __init__(self):
        self.values = {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        groups = runner.optim_wrapper.param_groups
        self.values[runner.iter] = [
            (group['lr'], group['weight_decay'], group.get('betas')) for group in groups
        ]


COSINE = [
    dict(type='LinearLR', start_factor=1e-3, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', begin=1, end=4, eta_min=1e-5, convert_to_iter_based=True),
]


@pytest.fixture
def run(make_runner, tmp_path):
    """Train on 12 numbers, two a step: the model and the rates of every step."""

    def train(name, epochs=4, stop=None, lr=1e-2, schedule=COSINE, hooks=(), **kwargs):
        rates = Rates()
        accumulate = kwargs.pop('accumulate', 1)
        loader = dict(
            dataset=Indices(kwargs.pop('images', 12)),
            sampler=dict(type=kwargs.pop('sampler', 'mmbeitv2.EpochSampler'), shuffle=True),
            batch_size=kwargs.pop('batch_size', 2),
            collate_fn=dict(type='default_collate'),
            num_workers=kwargs.pop('workers', 0),
        )
        loader['persistent_workers'] = loader['num_workers'] > 0
        train_cfg = kwargs.pop('train_cfg', dict(by_epoch=True, max_epochs=epochs))
        by_epoch = kwargs.pop('by_epoch', False)
        custom = [rates, *hooks] + ([StopAfter(stop)] if stop else [])
        runner = make_runner(
            Weights(),
            tmp_path / name,
            hooks=custom,
            default_hooks=dict(
                step_seed=dict(type='mmbeitv2.StepSeedHook'),
                exact_resume=dict(type='mmbeitv2.ExactResumeHook'),
                checkpoint=dict(
                    type='mmbeitv2.CheckpointHook',
                    interval=stop or -1,
                    by_epoch=by_epoch,
                    minutes=None,
                    **kwargs.pop('checkpoint', {}),
                ),
            ),
            override=dict(
                train_dataloader=loader,
                train_cfg=train_cfg,
                optim_wrapper=dict(
                    optimizer=dict(type='AdamW', lr=lr, weight_decay=0.05)
                    | kwargs.pop('optimizer', {}),
                    accumulative_counts=accumulate,
                    constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
                ),
                param_scheduler=[dict(s) for s in schedule],
                randomness=dict(seed=kwargs.pop('seed', 0), diff_rank_seed=True),
                **kwargs,
            ),
        )
        if stop:
            with pytest.raises(Killed):
                runner.train()
        else:
            runner.train()
        return runner.model, rates.values, runner

    return train


def assert_equal(resumed, whole):
    """Weights equal bit for bit, and the rates of all steps that both have made."""
    (model, rates, _), (other, other_rates, _) = resumed, whole
    for name, value in other.state_dict().items():
        assert torch.equal(model.state_dict()[name], value), name
    assert rates == {number: other_rates[number] for number in rates}


class TestWithinAnEpoch:
    @pytest.mark.parametrize('stop', [1, 5, 6, 7, 11, 12, 23])
    def test_goes_on_behind_the_images_already_seen(self, run, stop):
        whole = run('whole')
        run('cut', stop=stop)
        resumed = run('cut', resume=True)
        assert resumed[0].seen == whole[0].seen[2 * stop :]
        assert_equal(resumed, whole)

    def test_with_workers_that_persist(self, run):
        whole = run('whole', epochs=3)
        run('cut', epochs=3, stop=8, workers=1)
        resumed = run('cut', epochs=3, resume=True, workers=1)
        assert resumed[0].seen == whole[0].seen[16:]
        assert_equal(resumed, whole)

    def test_after_several_interruptions(self, run):
        whole = run('whole')
        for stop in (3, 4, 10):
            run('cut', stop=stop, resume=True)
        assert_equal(run('cut', resume=True), whole)

    def test_a_sampler_that_begins_anew_is_refused(self, run):
        run('cut', stop=8, sampler='DefaultSampler')
        with pytest.raises(InputError, match=r'within epoch 2.*DefaultSampler.*EpochSampler'):
            run('cut', resume=True, sampler='DefaultSampler')

    def test_other_images_are_refused(self, run):
        run('cut', stop=8)
        with pytest.raises(InputError, match=r'epoch 2 of 12 images, but there are 14 now'):
            run('cut', resume=True, images=14)

    def test_the_moving_average_goes_on(self, run):
        options = dict(hooks=[dict(type='mmbeitv2.EMAHook', momentum=0.1)])
        whole = run('whole', **options)
        run('cut', stop=8, **options)
        assert_equal(run('cut', resume=True, **options), whole)

    def test_a_seed_that_was_drawn_is_kept(self, run):
        model, _, runner = run('cut', stop=8, seed=None)
        resumed = run('cut', resume=True, seed=None)
        assert resumed[2].train_dataloader.sampler.seed == runner.train_dataloader.sampler.seed
        assert sorted(model.seen[12:] + resumed[0].seen[:8]) == list(range(12))

    @pytest.mark.parametrize('stop', [7, 8, 9, 12])
    def test_gradients_of_an_unfinished_update_are_kept(self, run, stop):
        whole = run('whole', accumulate=4)
        run('cut', accumulate=4, stop=stop)
        assert_equal(run('cut', accumulate=4, resume=True), whole)


class TestWithoutOptimizer:
    LEAN = dict(save_optimizer=False)

    def test_is_refused_with_what_takes_its_weights(self, run, tmp_path):
        run('cut', stop=7, checkpoint=self.LEAN)
        sound = dict(type='mmbeitv2.SoundWeightsHook')
        message = r'holds weights and position of a run, but not its optimiser.*load_from'
        for given in ({}, dict(load_from=str(tmp_path / 'cut/iter_7.pth'))):
            with pytest.raises(InputError, match=message) as error:
                run('cut', resume=True, hooks=[sound], **given)
            assert '\n' not in str(error.value)
        # What the message says works.
        _, rates, _ = run('new', hooks=[sound], load_from=str(tmp_path / 'cut/iter_7.pth'))
        assert min(rates) == 0

    def test_no_message_names_resume(self, run, tmp_path, log_of):
        with pytest.raises(SystemExit):
            run('cut', hooks=[Signal(3), TestSignal.STOP], checkpoint=self.LEAN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        (log,) = [path.read_text() for path in (tmp_path / 'cut').rglob('*.log')]
        assert '--resume' not in log
        assert f'load_from={tmp_path / "cut/iter_3.pth"}' in log


class TestSignal:
    STOP = dict(type='mmbeitv2.StopHook')

    @pytest.mark.parametrize(
        ('name', 'asked', 'accumulate', 'saved'),
        [
            ('SIGTERM', 1, 1, 1),
            ('SIGINT', 8, 1, 8),
            ('SIGUSR1', 12, 1, 12),
            ('SIGTERM', 9, 4, 12),
        ],
    )
    def test_saves_behind_the_update_and_goes_on(
        self, run, tmp_path, name, asked, accumulate, saved
    ):
        whole = run('whole', accumulate=accumulate)
        with pytest.raises(SystemExit) as stopped:
            run(
                'cut',
                accumulate=accumulate,
                by_epoch=True,
                hooks=[Signal(asked, name), self.STOP],
            )
        assert stopped.value.code == 75
        assert [p.name for p in (tmp_path / 'cut').glob('*.pth')] == [f'iter_{saved}.pth']
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        resumed = run('cut', accumulate=accumulate, by_epoch=True, resume=True)
        assert_equal(resumed, whole)
        assert len(resumed[0].seen) == 48 - 2 * saved
        assert [p.name for p in (tmp_path / 'cut').glob('*.pth')] == ['epoch_4.pth']

    def test_the_workers_end_with_it(self, run):
        with pytest.raises(SystemExit):
            run('cut', epochs=2, hooks=[Signal(3), self.STOP], workers=2)
        # What refers to the loader is there still, as where PyTorch waits for each of them.
        assert multiprocessing.active_children() == []
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def test_in_the_last_step_the_run_ends_as_ever(self, run):
        assert_equal(run('cut', hooks=[Signal(24), self.STOP]), run('whole'))

    def test_after_an_error_signals_do_what_they_did(self, run):
        # Processes that a shell has started in the background ignore it.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(Killed):
                run('cut', hooks=[self.STOP, StopAfter(2)])
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        finally:
            signal.signal(signal.SIGINT, before)

    def test_handlers_of_before_are_back_after_training(self, run):
        before = signal.getsignal(signal.SIGINT)
        run('cut', epochs=1, hooks=[self.STOP])
        assert signal.getsignal(signal.SIGINT) is before


class TestIterations:
    LOOP = dict(type='IterBasedTrainLoop', max_iters=21)
    SCHEDULE = [dict(type='PolyLR', by_epoch=False, begin=0, end=21)]

    @pytest.mark.parametrize('sampler', ['mmbeitv2.EndlessSampler', 'InfiniteSampler'])
    @pytest.mark.parametrize('workers', [0, 1])
    def test_samples_and_steps_go_on(self, run, sampler, workers):
        options = dict(
            train_cfg=self.LOOP, schedule=self.SCHEDULE, sampler=sampler, workers=workers
        )
        whole = run('whole', **options)
        run('cut', stop=9, **options)
        resumed = run('cut', resume=True, **options)
        assert resumed[0].seen == whole[0].seen[18:]
        assert_equal(resumed, whole)


class TestSchedule:
    """The config's, at the iteration reached, as a run that had it from its beginning."""

    @pytest.mark.parametrize(
        'schedule',
        [
            COSINE,
            [dict(type='CosineAnnealingLR', T_max=4, by_epoch=True)],
            [
                dict(type='StepLR', step_size=2, by_epoch=True),
                dict(type='CosineAnnealingParamScheduler', param_name='weight_decay', T_max=24,
                     eta_min=0.5, by_epoch=False),
            ],
            [dict(type='LinearMomentum', start_factor=0.5, end=20, by_epoch=False)],
            [],
        ],
        ids=['cosine', 'epochs', 'two kinds and weight decay', 'momentum', 'none'],
    )  # fmt: skip
    def test_an_unchanged_one_is_bit_equal(self, run, schedule, log_of):
        whole = run('whole', schedule=schedule)
        run('cut', schedule=schedule, stop=9)
        resumed = run('cut', schedule=schedule, resume=True)
        assert_equal(resumed, whole)
        assert 'config differs' not in log_of(resumed[2])

    def test_more_epochs_stretch_it(self, run):
        longer = [COSINE[0], COSINE[1] | dict(end=8)]
        run('cut', stop=12)
        _, rates, _ = run('cut', epochs=8, schedule=longer, resume=True)
        _, expected, _ = run('whole', epochs=8, schedule=longer)
        assert rates == {number: expected[number] for number in range(12, 48)}

    @pytest.mark.parametrize('schedule', [COSINE, []])
    def test_another_rate_is_followed_and_both_are_named(self, run, schedule, log_of):
        run('cut', stop=12, schedule=schedule)
        _, rates, runner = run('cut', lr=1e-4, schedule=schedule, resume=True)
        _, expected, _ = run('whole', lr=1e-4, schedule=schedule)
        assert rates == {number: expected[number] for number in range(12, 24)}
        assert 'lr 0.01 → 0.0001' in log_of(runner)

    def test_another_decay_and_other_betas_are_followed(self, run, log_of):
        run('cut', stop=12)
        other = dict(weight_decay=0.2, betas=(0.5, 0.6))
        _, rates, runner = run('cut', resume=True, optimizer=other)
        assert {decay for _, decay, _ in rates[12]} >= {0.0, 0.2}
        assert {betas for _, _, betas in rates[12]} == {(0.5, 0.6)}
        assert 'weight_decay 0.05 → 0.2' in log_of(runner)

    def test_another_batch_goes_on_at_the_epoch_with_its_own_iterations(self, run):
        run('cut', stop=12)
        model, rates, runner = run('cut', resume=True, batch_size=4)
        whole, expected, _ = run('whole', batch_size=4)
        assert runner.iter == 12
        assert rates == {number: expected[number] for number in range(6, 12)}
        assert model.seen == whole.seen[24:]

    def test_another_batch_within_an_epoch_goes_on_behind_the_images(self, run):
        run('cut', stop=8)
        resumed, _, _ = run('cut', resume=True, batch_size=4)
        whole, _, _ = run('whole', batch_size=4)
        assert resumed.seen == whole.seen[16:]

    def test_one_that_does_not_divide_them_is_refused(self, run):
        run('cut', stop=7)
        with pytest.raises(InputError, match=r'behind 2 images.*1 processes × 4 images.*do not'):
            run('cut', resume=True, batch_size=4)

    def test_one_that_follows_validations_keeps_its_state_or_is_refused(self, run):
        plateau = [dict(type='ReduceOnPlateauLR', monitor='loss', by_epoch=True)]
        run('cut', stop=12, schedule=plateau)
        run('cut', schedule=plateau, resume=True)
        with pytest.raises(InputError, match=r'starts at 0\.1 in the config and at 0\.01'):
            run('cut', schedule=plateau, lr=0.1, epochs=6, resume=True)


class TestPosition:
    @pytest.mark.parametrize(
        ('epoch', 'iteration', 'now', 'expected'),
        [
            (2, 32, RunShape(1, 4, 32), Position(2, 64, 0)),  # half the processes
            (1, 30, RunShape(2, 4, 16), Position(1, 30, 14)),
            (1, 32, RunShape(2, 4, 16), Position(2, 32, 0)),  # before the epoch was counted
            (1, 18, RunShape(1, 4, 32), Position(1, 36, 4)),
            (1, 18, RunShape(4, 4, 8), Position(1, 9, 1)),
        ],
    )
    def test_counts_images(self, epoch, iteration, now, expected):
        meta = dict(epoch=epoch, iter=iteration)
        assert resumed_position(meta, RunShape(2, 4, 16), now) == expected

    def test_a_file_without_record_must_fit(self):
        assert resumed_position(dict(epoch=2, iter=32), None, RunShape(1, 4, 16)).into_epoch == 0
        with pytest.raises(InputError, match=r'32 iterations and 2 epochs.*10 iterations an epoch'):
            resumed_position(dict(epoch=2, iter=32), None, RunShape(1, 4, 10))

    def test_the_next_epoch_is_whole(self):
        sampler = EpochSampler(range(8), seed=3)
        everything = list(map(int, sampler))
        sampler.start_at(0, 6)
        assert (list(map(int, sampler)), len(sampler)) == (everything[6:], 2)
        sampler.set_epoch(1)
        assert len(list(sampler)) == len(sampler) == 8


def test_usage_of_the_codebook_is_counted_over_the_whole_epoch(vqkd, make_runner, tmp_path, log_of):
    def train(name, *hooks, resume=False):
        checkpoint = dict(type='mmbeitv2.CheckpointHook', interval=2, by_epoch=False)
        return make_runner(
            copy.deepcopy(vqkd),
            tmp_path / name,
            hooks=[dict(type='mmbeitv2.CodebookUsageHook'), *hooks],
            default_hooks=dict(
                exact_resume=dict(type='mmbeitv2.ExactResumeHook'), checkpoint=checkpoint
            ),
            override=dict(
                train_dataloader=dict(
                    dataset=Noise(),
                    sampler=dict(type='mmbeitv2.EpochSampler', shuffle=True),
                    batch_size=2,
                    collate_fn=dict(type='default_collate'),
                )
            ),
            resume=resume,
        )

    whole = train('whole')
    whole.train()
    cut = train('cut', StopAfter(2))
    with pytest.raises(Killed):
        cut.train()
    resumed = train('cut', resume=True)
    resumed.train()
    usage = [re.findall('codebook: .*', log_of(runner)) for runner in (whole, resumed)]
    assert len(usage[0]) == 1
    assert usage[0] == usage[1]


class Noise(torch.utils.data.Dataset):
    """Eight photos of noise."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(int(index))
        return dict(inputs=torch.randint(256, (3, 64, 64), dtype=torch.uint8, generator=generator))

"""Scalars read late are the scalars that were there, and a bad loss read late is still named."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmengine.logging import MessageHub

from mmbeitv2.engine import DeferredScalars, loss_hook
from mmbeitv2.models import VQKD

RUNTIME_INFO = dict(type='mmbeitv2.DeferredRuntimeInfoHook')


@pytest.fixture
def train(vqkd_config, make_runner, tmp_path):
    """Trains a VQ-KD model of fixed weights on photos of noise; gives the runner."""

    def run(deferred, name, interval=3, clip_grad=None, **kwargs):
        torch.manual_seed(0)
        model = VQKD(**vqkd_config)
        model.quantize.init_codebook(torch.nn.functional.normalize(torch.randn(256, 8), dim=-1))
        default_hooks = dict(logger=dict(type='LoggerHook', interval=interval))
        if deferred:
            default_hooks['runtime_info'] = RUNTIME_INFO
        default_hooks |= kwargs.pop('default_hooks', {})
        folder = tmp_path / name
        runner = make_runner(model, work_dir=folder, default_hooks=default_hooks, **kwargs)
        runner.optim_wrapper.update(
            type='mmbeitv2.BFloat16OptimWrapper', clip_grad=clip_grad or dict(max_norm=1.0)
        )
        runner.train()
        return runner

    return run


def histories(runner):
    """What the message hub holds of the model and its gradients, by name."""
    return {
        name: values.data[0].tolist()
        for name, values in runner.message_hub.log_scalars.items()
        if 'time' not in name
    }


def logged(runner):
    (path,) = Path(runner.work_dir).rglob('scalars.json')
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [{k: v for k, v in line.items() if 'time' not in k} for line in lines]


class TestHistory:
    def test_is_that_of_reading_every_iteration(self, train):
        """Over two epochs of eight iterations, of which the last two of each are not logged."""
        late = train(True, 'late', num_images=16, epochs=2)
        early = train(False, 'early', num_images=16, epochs=2)
        assert len(logged(late)) == 4
        assert logged(late) == logged(early)
        assert len(histories(late)['train/grad_norm']) == 16
        assert histories(late) == histories(early)

    def test_has_all_that_a_checkpoint_between_two_logs_needs(self, train, tmp_path):
        checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=5)
        train(True, 'run', interval=4, num_images=16, default_hooks=dict(checkpoint=checkpoint))
        saved = torch.load(tmp_path / 'run/iter_5.pth', weights_only=True)['message_hub']
        for name in ('train/loss', 'train/grad_norm'):
            assert len(saved['log_scalars'][name][0]) == 5

    def test_goes_on_in_a_resumed_run(self, train, tmp_path):
        whole = train(True, 'whole', interval=100, epochs=2)
        train(True, 'halves', interval=100, epochs=1)
        resumed = train(True, 'halves', interval=100, epochs=2, resume=True)
        assert resumed.iter == 8
        assert histories(resumed) == histories(whole)

    def test_is_written_after_the_clock_is_read_and_before_the_log(self, train):
        """The wait would else be counted to the one iteration that is logged."""
        throughput = dict(type='mmbeitv2.ImagesPerSecondHook')
        runner = train(True, 'run', default_hooks=dict(throughput=throughput))
        order = [type(hook).__name__ for hook in runner.hooks]
        clocks_first = ['IterTimerHook', 'ImagesPerSecondHook', '_WriteBeforeLog', 'LoggerHook']
        places = [order.index(name) for name in clocks_first]
        assert places == sorted(places)
        runner.call_hook('before_train')
        assert [type(hook).__name__ for hook in runner.hooks] == order

    def test_clipping_by_value_has_no_norm(self, train):
        runner = train(True, 'value', clip_grad=dict(type='value', clip_value=0.1))
        assert 'train/grad_norm' not in histories(runner)
        assert 'train/loss' in histories(runner)


class TestDeferredScalars:
    @pytest.fixture
    def scalars(self, tmp_path):
        return DeferredScalars(MessageHub.get_instance(tmp_path.name))

    def test_nothing_is_in_the_hub_before_it_is_written(self, scalars):
        scalars.add(dict(a=torch.tensor(1.0)))
        assert not scalars.message_hub.log_scalars
        scalars.write()
        scalars.write()
        assert scalars.message_hub.get_scalar('a').data[0].tolist() == [1.0]

    def test_tensors_of_all_types_and_numbers_keep_their_value_and_order(self, scalars):
        large = 2**40 + 1
        values = [torch.tensor([0.1], dtype=torch.float64), torch.tensor(large), 3, np.float64(0.2)]
        for value in values:
            scalars.add(dict(a=value, b=torch.tensor(0.5, dtype=torch.bfloat16)))
        scalars.write()
        assert scalars.message_hub.get_scalar('a').data[0].tolist() == [0.1, large, 3, 0.2]
        assert scalars.message_hub.get_scalar('b').mean() == 0.5

    def test_what_is_kept_does_not_follow_the_tensor(self, scalars):
        """Nor holds the graph that computed it."""
        weight = torch.ones((), requires_grad=True)
        value = weight * 1
        scalars.add(dict(a=value))
        with torch.no_grad():
            value.fill_(7)
        scalars.write()
        assert scalars.message_hub.get_scalar('a').current() == 1


class SpoilSecond(Hook):
    """Makes the loss of the second iteration, and no other, something that is no number."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        model, bad = runner.model, batch_idx == 1
        model.teacher.features = torch.full((2, 16, 24), float('nan')) if bad else None
        if bad:
            self.files = [sample.img_path for sample in data_batch['data_samples']]


class TestLateLosses:
    """As on a GPU: a loss arrives after the host has gone on."""

    @pytest.fixture
    def late(self, monkeypatch):
        monkeypatch.setattr(loss_hook.HostCopy, 'arrived', lambda self: False)

    @pytest.mark.parametrize(('pending', 'found_in'), [(1, 3), (8, 4)])
    def test_iteration_and_images_are_those_of_the_bad_loss(
        self, vqkd, make_runner, late, monkeypatch, pending, found_in
    ):
        """Found when too many are on their way, or at the end of the epoch, before it is saved."""
        monkeypatch.setattr(loss_hook, 'MAX_PENDING', pending)
        spoil = SpoilSecond()
        runner = make_runner(vqkd, hooks=[spoil, dict(type='mmbeitv2.FiniteLossHook')])
        with pytest.raises(FloatingPointError, match=r'not finite at iteration 2: ') as error:
            runner.train()
        assert runner.iter + 1 == found_in
        assert all(file in str(error.value) for file in spoil.files)
        assert str(error.value).count('photo_') == 2
        assert not list(Path(runner.work_dir).glob('*.pth'))

    def test_no_checkpoint_is_saved_of_spoiled_weights(self, vqkd, make_runner, late):
        """Between two epochs' ends too."""
        checkpoint = dict(type='CheckpointHook', by_epoch=False, interval=3)
        hooks = [SpoilSecond(), dict(type='mmbeitv2.FiniteLossHook')]
        runner = make_runner(vqkd, hooks=hooks, default_hooks=dict(checkpoint=checkpoint))
        with pytest.raises(FloatingPointError, match=r'not finite at iteration 2: '):
            runner.train()
        assert runner.iter + 1 == 3
        assert not list(Path(runner.work_dir).glob('*.pth'))

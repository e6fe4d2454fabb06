"""A loss that is no number ends the run, and what it says to do works."""

import json
import re

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.structures import BaseDataElement
from torch import nn

from mmbeitv2.checkpoints.run_folder import newest_whole
from mmbeitv2.errors import NonFiniteError


class Weight(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))
        self.spoil = False

    def train_step(self, data, optim_wrapper):
        loss = (self.weight * data['inputs'].float().mean()).square().sum()
        loss = loss * float('nan') if self.spoil else loss
        optim_wrapper.update_params(loss)
        return dict(loss=loss.detach())


class SpoilFrom(Hook):
    def __init__(self, iteration):
        self.iteration = iteration

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        runner.model.spoil = runner.iter + 1 >= self.iteration


@pytest.fixture
def run(make_runner):
    def train(hooks=(), **kwargs):
        runner = make_runner(
            Weight(),
            num_images=16,
            hooks=[*hooks, dict(type='mmbeitv2.FiniteLossHook')],
            default_hooks=dict(
                exact_resume=dict(type='mmbeitv2.ExactResumeHook'),
                checkpoint=dict(
                    type='mmbeitv2.CheckpointHook', interval=1, by_epoch=False, max_keep_ckpts=1
                ),
            ),
            override=dict(
                train_dataloader=dict(
                    dataset=Photos(16),
                    sampler=dict(type='mmbeitv2.EpochSampler', shuffle=True),
                    batch_size=2,
                    collate_fn=dict(type='default_collate'),
                ),
                **kwargs,
            ),
        )
        runner.train()
        return runner

    return train


class Photos(torch.utils.data.Dataset):
    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        sample = BaseDataElement(metainfo=dict(img_path=f'photo_{int(index)}.jpg'))
        return dict(inputs=torch.full((3, 4, 4), 1 + int(index)), data_samples=sample)


def test_the_last_finite_checkpoint_is_kept_and_named_and_resumes(run, tmp_path):
    with pytest.raises(NonFiniteError, match='not finite at iteration 3: ') as error:
        run(hooks=[SpoilFrom(3)])
    message = str(error.value)
    assert '\n' not in message
    files = [path.name for path in (tmp_path / 'work').glob('*.pth')]
    assert files == ['iter_2.pth']
    named = re.search(r'--resume (\S+)\.$', message)[1]
    assert str(newest_whole(tmp_path / 'work').path) == named
    runner = run(resume=True, load_from=named)
    assert runner.iter == 8
    assert torch.isfinite(runner.model.weight).all()


def test_the_files_of_the_batch_lie_in_the_runs_folder(run, tmp_path):
    with pytest.raises(NonFiniteError) as error:
        run(hooks=[SpoilFrom(3)])
    record = json.loads((tmp_path / 'work/not_finite_3_rank0.json').read_text())
    assert record['iteration'] == 3
    assert record['terms'] == {'loss': 'nan'}
    assert len(record['files']) == 2
    assert all(name in str(error.value) for name in record['files'])


def test_before_the_first_checkpoint_none_is_named(run, tmp_path):
    with pytest.raises(NonFiniteError, match='no checkpoint had been saved before it'):
        run(hooks=[SpoilFrom(1)])
    assert list((tmp_path / 'work').glob('*.pth')) == []

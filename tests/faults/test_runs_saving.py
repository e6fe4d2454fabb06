"""What a run has saved stays: whatever happens while the next checkpoint is written."""

import errno
import os
import shutil
from pathlib import Path

import pytest
import torch
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.fileio import LocalBackend
from mmengine.hooks import Hook
from torch import nn

from mmbeitv2.checkpoints import atomic
from mmbeitv2.checkpoints.atomic import AtomicBackend, write_atomically
from mmbeitv2.checkpoints.run_folder import damage, newest_whole
from mmbeitv2.engine import disk_space
from mmbeitv2.errors import UnreadableFileError


def save(path: Path, iteration: int) -> Path:
    torch.save(dict(meta=dict(iter=iteration), state_dict=dict(w=torch.arange(1000.0))), path)
    return path


def flip_a_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[content.index(b'state_dict')] ^= 1
    path.write_bytes(content)


class TestWriting:
    def test_a_failed_write_leaves_the_file_as_it_was(self, tmp_path, monkeypatch):
        path = tmp_path / 'a.pth'
        write_atomically(path, b'old')

        def full(descriptor):
            raise OSError(errno.ENOSPC, 'No space left on device')

        monkeypatch.setattr(atomic.os, 'fsync', full)
        with pytest.raises(UnreadableFileError, match=r'a\.pth, 3 bytes: No space left.*free'):
            write_atomically(path, b'new')
        assert path.read_bytes() == b'old'
        assert os.listdir(tmp_path) == ['a.pth']

    def test_a_file_gets_the_permissions_of_the_users_umask(self, tmp_path):
        before = os.umask(0o027)
        try:
            write_atomically(tmp_path / 'a.pth', b'')
        finally:
            os.umask(before)
        assert (tmp_path / 'a.pth').stat().st_mode & 0o777 == 0o640

    def test_the_name_appears_after_the_bytes_are_flushed(self, tmp_path, monkeypatch):
        seen = []
        flush = os.fsync
        monkeypatch.setattr(
            atomic.os, 'fsync', lambda d: (seen.append((tmp_path / 'a').exists()), flush(d))
        )
        write_atomically(tmp_path / 'a', b'new')
        assert seen == [False, True]  # the file, then the folder

    def test_a_removal_waits_and_spares_what_was_written_anew(self, tmp_path):
        backend = AtomicBackend()
        for name in 'ab':
            backend.put(b'old', tmp_path / name)
        with backend.removals_last():
            backend.remove(tmp_path / 'a')
            backend.remove(tmp_path / 'b')
            backend.put(b'new', tmp_path / 'b')
            assert (tmp_path / 'a').exists()
        assert os.listdir(tmp_path) == ['b']
        with pytest.raises(ZeroDivisionError):
            self.fail_within(backend, tmp_path / 'b')
        assert (tmp_path / 'b').read_bytes() == b'new'

    @staticmethod
    def fail_within(backend, path):
        with backend.removals_last():
            backend.remove(path)
            raise ZeroDivisionError


class TestNewest:
    def test_the_pointer_decides(self, tmp_path):
        save(tmp_path / 'epoch_2.pth', 4)
        save(tmp_path / 'epoch_8.pth', 16)  # of an earlier run in this folder
        (tmp_path / 'last_checkpoint').write_text('/elsewhere/epoch_2.pth\n')
        assert newest_whole(tmp_path).path == tmp_path / 'epoch_2.pth'

    @pytest.mark.parametrize(
        'pointer', [None, '', '\n', '\x00', 'work/epoch_11.pth', 'no checkpoint', b'\xff\xfe.pth']
    )
    def test_without_one_the_largest_number_does(self, tmp_path, pointer):
        for number in (8, 9, 10):
            save(tmp_path / f'epoch_{number}.pth', number)
        if pointer is not None:
            content = pointer if isinstance(pointer, bytes) else pointer.encode()
            (tmp_path / 'last_checkpoint').write_bytes(content)
        assert newest_whole(tmp_path).path == tmp_path / 'epoch_10.pth'

    @pytest.mark.parametrize(('iteration', 'newest'), [(30, 'iter_30.pth'), (20, 'epoch_2.pth')])
    def test_epochs_and_iterations_are_compared_by_iteration(self, tmp_path, iteration, newest):
        save(tmp_path / 'epoch_2.pth', 25)
        save(tmp_path / f'iter_{iteration}.pth', iteration)
        assert newest_whole(tmp_path).path == tmp_path / newest

    def test_other_names_of_the_hook_are_found(self, tmp_path):
        save(tmp_path / 'run_9.pth', 9)
        save(tmp_path / 'best_acc_epoch_12.pth', 12)
        assert newest_whole(tmp_path).path is None
        assert newest_whole(tmp_path, templates=['run_{}.pth']).path == tmp_path / 'run_9.pth'

    @pytest.mark.parametrize('cut', [0, 1, 100, 2000, -1, -30])
    def test_a_truncated_file_is_passed_over_and_named(self, tmp_path, cut):
        older = save(tmp_path / 'epoch_9.pth', 9)
        path = save(tmp_path / 'epoch_10.pth', 10)
        path.write_bytes(path.read_bytes()[:cut])
        (tmp_path / 'last_checkpoint').write_text(str(path))
        found = newest_whole(tmp_path)
        assert found.path == older
        assert 'epoch_10.pth is' in ' '.join(found.notes)

    def test_a_flipped_bit_is_found(self, tmp_path):
        path = save(tmp_path / 'epoch_9.pth', 9)
        assert damage(path) is None
        flip_a_byte(path)
        assert 'checksum' in damage(path)

    def test_without_a_whole_one_the_run_is_refused(self, tmp_path):
        flip_a_byte(save(tmp_path / 'epoch_1.pth', 1))
        (tmp_path / 'epoch_2.pth').write_bytes(b'')
        with pytest.raises(UnreadableFileError, match=r'epoch_2.*empty.*epoch_1.*checksum'):
            newest_whole(tmp_path)


class TestRun:
    """The hook in real runs of a tiny model."""

    @pytest.fixture
    def run(self, make_runner, tmp_path):
        def train(work_dir=tmp_path / 'work', epochs=2, hooks=(), checkpoint=(), **kwargs):
            own = dict(type='mmbeitv2.CheckpointHook', interval=1, minutes=None)
            runner = make_runner(
                Weight(),
                work_dir,
                num_images=4,
                epochs=epochs,
                hooks=hooks,
                default_hooks=dict(checkpoint=own | dict(checkpoint)),
                **kwargs,
            )
            runner.train()
            return runner

        return train

    def test_the_older_file_is_removed_once_the_new_one_is_there(self, run, monkeypatch, tmp_path):
        remove, at_removal = AtomicBackend.remove, []

        def watched(backend, path):
            at_removal.append({p.name: damage(p) for p in (tmp_path / 'work').glob('*.pth')})
            remove(backend, path)

        monkeypatch.setattr(AtomicBackend, 'remove', watched)
        run(epochs=3, checkpoint=dict(max_keep_ckpts=1))
        assert at_removal == [
            {'epoch_1.pth': None, 'epoch_2.pth': None},
            {'epoch_2.pth': None, 'epoch_3.pth': None},
        ]
        assert [p.name for p in (tmp_path / 'work').glob('*.pth')] == ['epoch_3.pth']

    def test_a_full_disk_costs_the_new_file_alone(self, run, monkeypatch, tmp_path):
        write = AtomicBackend.put

        def put(backend, content, path):
            if Path(path).name == 'epoch_2.pth':
                monkeypatch.setattr(atomic.os, 'fsync', _full)
            write(backend, content, path)

        monkeypatch.setattr(AtomicBackend, 'put', put)
        with pytest.raises(UnreadableFileError, match=r'cannot write .*epoch_2\.pth, [\d,]+ bytes'):
            run(checkpoint=dict(max_keep_ckpts=1))
        monkeypatch.undo()
        assert newest_whole(tmp_path / 'work').path.name == 'epoch_1.pth'
        assert run(resume=True, checkpoint=dict(max_keep_ckpts=1)).epoch == 2

    def test_no_space_for_one_checkpoint_is_said_before_the_first_step(self, run, monkeypatch):
        monkeypatch.setattr(disk_space, 'free_bytes', lambda path: 47)
        with pytest.raises(UnreadableFileError, match=r'47 bytes free.* needs about 48'):
            run(hooks=[Never()])

    def test_a_moved_folder_goes_on_where_it_is(self, run, tmp_path, log_of):
        run(epochs=1)
        shutil.copytree(tmp_path / 'work', tmp_path / 'copy')
        before = {p: p.stat().st_mtime_ns for p in (tmp_path / 'work').rglob('*')}
        runner = run(tmp_path / 'copy', resume=True)
        assert runner.iter == 4
        assert f'resuming from {tmp_path}/copy/epoch_1.pth' in log_of(runner)
        assert {p: p.stat().st_mtime_ns for p in (tmp_path / 'work').rglob('*')} == before

    @pytest.mark.parametrize('pointer', [None, ''])
    def test_a_damaged_newest_file_is_passed_over(self, run, tmp_path, log_of, pointer):
        run(epochs=2)
        flip_a_byte(tmp_path / 'work/epoch_2.pth')
        if pointer is None:
            (tmp_path / 'work/last_checkpoint').unlink()
        else:
            (tmp_path / 'work/last_checkpoint').write_text(pointer)
        runner = run(epochs=3, resume=True)
        assert 'epoch_2.pth is damaged' in log_of(runner)
        assert 'resumed epoch: 1, iter: 2' in log_of(runner)
        assert damage(tmp_path / 'work/epoch_2.pth') is None

    def test_nothing_whole_refuses_instead_of_starting_anew(self, run, tmp_path):
        run(epochs=1)
        (tmp_path / 'work/epoch_1.pth').write_bytes(b'half')
        with pytest.raises(UnreadableFileError, match='truncated'):
            run(resume=True, hooks=[Never()])

    def test_an_empty_folder_starts_anew_and_says_so(self, run, log_of):
        assert 'the run starts anew' in log_of(run(resume=True))

    def test_what_a_killed_run_was_writing_is_cleaned_up(self, run, tmp_path):
        partial = tmp_path / 'work/.epoch_1.pth.00ff.partial'
        partial.parent.mkdir()
        partial.write_bytes(b'half')
        run(epochs=1)
        assert not partial.exists()

    def test_the_previous_best_is_removed_once_the_next_is_there(self, run, tmp_path, monkeypatch):
        remove, at_removal = LocalBackend.remove, []

        def watched(backend, path):
            at_removal.append(sorted(p.name for p in (tmp_path / 'work').glob('best*')))
            remove(backend, path)

        monkeypatch.setattr(LocalBackend, 'remove', watched)
        validation = dict(
            val_dataloader=dict(dataset=[0], sampler=dict(type='DefaultSampler', shuffle=False)),
            val_cfg=dict(),
            val_evaluator=Evaluator(Rising()),
        )
        run(checkpoint=dict(save_best='score', rule='greater', interval=-1), **validation)
        names = ['best_score_epoch_1.pth', 'best_score_epoch_2.pth']
        assert at_removal == [names]
        assert [p.name for p in (tmp_path / 'work').glob('best*')] == names[1:]


class Rising(BaseMetric):
    """A score that is better each time."""

    score = 0

    def process(self, data_batch, data_samples):
        self.results.append(0)

    def compute_metrics(self, results):
        self.score += 1
        return dict(score=self.score)


class Weight(nn.Module):
    """The least that can be trained: one weight of three numbers, and the loss they give."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(4))

    def val_step(self, data):
        return [None]

    def train_step(self, data, optim_wrapper):
        loss = (self.weight * data['inputs'].float().mean()).square().sum()
        optim_wrapper.update_params(loss)
        return dict(loss=loss.detach())


class Never(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        raise AssertionError('a step was made')


def _full(descriptor):
    raise OSError(errno.ENOSPC, 'No space left on device')

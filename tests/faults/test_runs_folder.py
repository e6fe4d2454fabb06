"""The folder of a run: whether it can be written, and what a start goes on from."""

import errno

import pytest
import torch
from mmengine.config import Config

from mmbeitv2.errors import UnreadableFileError
from mmbeitv2.launch.run_folder import check_work_dir, settle_resume
from mmbeitv2.launch.user_errors import one_line_errors


@pytest.fixture
def saved(tmp_path):
    """A folder with two checkpoints of a run."""
    for number in (9, 10):
        torch.save(dict(meta=dict(iter=number)), tmp_path / f'epoch_{number}.pth')
    return tmp_path


def settled(folder, **values):
    cfg = Config(dict(work_dir=str(folder), **values))
    return settle_resume(cfg), cfg


class TestWorkDir:
    def test_a_new_folder_is_made_and_left_empty(self, tmp_path):
        check_work_dir(tmp_path / 'a' / 'b')
        assert list((tmp_path / 'a' / 'b').iterdir()) == []

    @pytest.mark.parametrize('below', ['', 'below'])
    def test_a_file_in_its_place_is_named(self, tmp_path, below):
        file = tmp_path / 'file'
        file.touch()
        with pytest.raises(UnreadableFileError, match=r'bytes into work_dir .*file.*work-dir'):
            check_work_dir(file / below)

    def test_a_folder_that_nobody_can_write_is_named(self):
        with pytest.raises(UnreadableFileError, match="work_dir '/proc/runs'"):
            check_work_dir('/proc/runs')


class TestResume:
    def test_takes_the_newest_whole_one(self, saved):
        (saved / 'epoch_10.pth').write_bytes(b'half')
        notes, cfg = settled(saved, resume=True, load_from=None)
        assert cfg.load_from == str(saved / 'epoch_9.pth')
        assert 'epoch_10.pth is truncated' in notes[0]

    def test_says_that_it_starts_anew(self, tmp_path):
        notes, cfg = settled(tmp_path, resume=True)
        assert 'starts anew' in notes[0]
        assert cfg.get('load_from') is None

    def test_a_named_file_that_is_damaged_is_refused(self, saved):
        (saved / 'epoch_10.pth').write_bytes(b'half')
        with pytest.raises(UnreadableFileError, match=r'epoch_10.pth to resume from is truncated'):
            settled(saved, resume=True, load_from=str(saved / 'epoch_10.pth'))

    @pytest.mark.parametrize('values', [{}, dict(resume=False, load_from='weights.pth')])
    def test_without_it_nothing_is_changed(self, saved, values):
        assert settled(saved, **values)[0] == []

    def test_the_hooks_names_and_folder_are_known(self, tmp_path):
        files = tmp_path / 'elsewhere' / 'run'
        files.mkdir(parents=True)
        torch.save({}, files / 'step_3.pth')
        hook = dict(out_dir=str(tmp_path / 'elsewhere'), filename_tmpl='step_{}.pth')
        work_dir = tmp_path / 'run'
        _, cfg = settled(work_dir, resume=True, default_hooks=dict(checkpoint=hook))
        assert cfg.load_from == str(files / 'step_3.pth')


class TestRestarted:
    """A scheduler has started the same command again."""

    @pytest.fixture(autouse=True)
    def again(self, monkeypatch):
        monkeypatch.setenv('MMBEITV2_RESTARTED', '1')

    @pytest.mark.parametrize(
        'values',
        [
            {},
            dict(load_from='weights.pth'),
            dict(resume=True),
            dict(resume=True, load_from='first.pth'),
        ],
    )
    def test_goes_on_from_the_newest(self, saved, values):
        _, cfg = settled(saved, **values)
        assert (cfg.resume, cfg.load_from) == (True, str(saved / 'epoch_10.pth'))

    def test_or_as_the_command_says_if_nothing_was_saved(self, tmp_path):
        _, cfg = settled(tmp_path / 'new', load_from='weights.pth')
        assert not cfg.get('resume')
        assert cfg.load_from == 'weights.pth'


@pytest.mark.parametrize('number', [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_disk_that_cannot_be_written_is_one_line(number, capsys):
    with pytest.raises(SystemExit, match='2'), one_line_errors():
        raise OSError(number, 'No space', 'scalars.json')
    assert capsys.readouterr().err == 'error: cannot write scalars.json: No space\n'


def test_ctrl_c_outside_of_training_is_one_line(capsys):
    with pytest.raises(SystemExit, match='130'), one_line_errors('nothing was saved'):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == '\nnothing was saved\n'

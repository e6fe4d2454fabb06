"""Files that are no photos: found or left out by name, read, or named in one line."""

import os
import shutil
import sys
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmpretrain.datasets import CustomDataset
from photo_files import write_photo

import mmbeitv2
from mmbeitv2.datasets import (
    EpochSampler,
    LoadCenterCrop,
    LoadImage,
    LoadRandomCrop,
    Photos,
    SampleIndex,
)
from mmbeitv2.datasets.listing import readable_extensions
from mmbeitv2.engine import ReplacedImagesHook
from mmbeitv2.errors import UserError
from mmbeitv2.launch import preflight

EXTENSIONS = ('jpg', 'PNG', 'webp', 'tiff', 'gif', 'bmp', 'jfif', 'jp2')


def unlabelled(root, **options):
    return Photos(data_root=str(root), with_label=False, **options)


def names_of(dataset):
    return [dataset.get_data_info(i)['img_path'].split('/')[-1] for i in range(len(dataset))]


@pytest.fixture
def log(monkeypatch):
    """Lines that data sets log."""
    lines = []
    monkeypatch.setattr('mmbeitv2.datasets.photos.print_log', lambda line, **_: lines.append(line))
    return lines


@pytest.mark.parametrize('with_label', [False, True])
def test_everything_that_pillow_reads_is_listed(tmp_path, with_label, log):
    for index, extension in enumerate(EXTENSIONS):
        write_photo(tmp_path / f'cat/{index}.{extension}')
    dataset = Photos(data_root=str(tmp_path), with_label=with_label)
    assert len(dataset) == len(EXTENSIONS)
    assert log == []


@pytest.mark.skipif('.avif' not in readable_extensions(), reason='this Pillow reads no AVIF')
def test_avif_is_listed_and_read(tmp_path):
    write_photo(tmp_path / 'photo.avif')
    dataset = unlabelled(tmp_path, pipeline=[dict(type='mmbeitv2.LoadImage')])
    assert dataset[0]['img'].size == (24, 16)


def test_what_is_left_out_is_counted_and_named(tmp_path, log):
    write_photo(tmp_path / 'deep/down/photo.jpg')
    (tmp_path / 'notes.txt').write_text('no photo')
    (tmp_path / 'gone.jpg').symlink_to('nowhere.jpg')
    os.mkfifo(tmp_path / 'pipe.jpg')
    write_photo(tmp_path / '.ipynb_checkpoints/photo-checkpoint.jpg')
    (tmp_path / 'deep/loop').symlink_to('..')
    assert names_of(unlabelled(tmp_path)) == ['photo.jpg']
    (line,) = log
    for part in ('1 images', '5 left out', 'notes.txt', '1 link to nothing', '1 pipe', '1 hidden'):
        assert part in line


def test_images_that_mmpretrains_data_set_leaves_out_are_counted(tmp_path, monkeypatch):
    for index, extension in enumerate(('jpg', 'webp', 'tiff', 'gif', 'png')):
        write_photo(tmp_path / f'{index}.{extension}')
    lines = []
    monkeypatch.setattr('mmbeitv2.launch.photos.print_log', lambda line, **_: lines.append(line))
    dataset = dict(type='CustomDataset', data_root=str(tmp_path), with_label=False)
    cfg = Config(dict(train_dataloader=dict(dataset=dataset)))
    preflight.check(cfg, phases=('train',))
    assert 'leaves out 3 of 5 images' in lines[0]
    cfg.train_dataloader.dataset.type = 'mmbeitv2.Photos'
    preflight.check(cfg, phases=('train',))
    assert len(lines) == 1


def test_a_folder_without_images_says_what_it_has(tmp_path):
    (tmp_path / 'notes.txt').write_text('no photo')
    with pytest.raises(UserError, match=r'has no image; 1 left out .*notes\.txt'):
        unlabelled(tmp_path)


LOADERS = [LoadImage(), LoadRandomCrop(32, (0.2, 1)), LoadCenterCrop(32, 36)]


def unusual(path, kind):
    photo = write_photo(path.with_name('good.png')).read_bytes()
    if kind == 'folder':
        path.mkdir()
    elif kind == 'pipe':
        os.mkfifo(path)
    elif kind == 'link to nothing':
        path.symlink_to('nowhere.png')
    elif kind != 'missing':
        path.write_bytes({'empty': b'', 'text': b'hello', 'truncated': photo[:700]}[kind])
    return path


@pytest.mark.parametrize('load', LOADERS, ids=lambda load: type(load).__name__)
@pytest.mark.parametrize(
    'kind', ['folder', 'pipe', 'link to nothing', 'missing', 'empty', 'text', 'truncated']
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path, load, kind):
    path = unusual(tmp_path / 'x.png', kind)
    with pytest.raises(UserError, match=f"'{path}' cannot be read") as error:
        load({'img_path': str(path)})
    assert '\n' not in str(error.value)
    assert '0x' not in str(error.value)


@pytest.mark.parametrize('load', LOADERS, ids=lambda load: type(load).__name__)
@pytest.mark.parametrize('size', [(1, 1), (1, 5000), (5000, 1)])
def test_extreme_shapes_are_read(tmp_path, load, size):
    path = write_photo(tmp_path / 'x.png', size=size)
    results = load({'img_path': str(path)})
    assert results['ori_shape'] == size[::-1]


def test_a_decompression_bomb_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr('PIL.Image.MAX_IMAGE_PIXELS', 100)
    path = write_photo(tmp_path / 'x.png')
    with pytest.raises(UserError, match=r"'.*' cannot be read: DecompressionBombError"):
        LoadImage()({'img_path': str(path)})


def test_order_is_that_of_mmpretrains_data_set(tmp_path):
    """So that a seed draws the same photos as with that."""
    for index, name in enumerate(('b/2.png', 'b-c/1.png', 'b/10.png', 'a/b/1.png', 'a.png')):
        write_photo(tmp_path / name, seed=index)
    for with_label in (False, True):
        found, expected = (
            kind(data_root=str(tmp_path), with_label=with_label) for kind in (Photos, CustomDataset)
        )
        infos = [[d.get_data_info(i) for i in range(len(d))] for d in (found, expected)]
        assert infos[0] == infos[1]


class TestReplacement:
    """``on_error='replace'``, for sets too large to be cleaned."""

    @pytest.fixture
    def root(self, tmp_path):
        for index in range(12):
            write_photo(tmp_path / 'photos' / f'{index:02}.png', seed=index)
        (tmp_path / 'photos/03.png').write_bytes(b'')
        (tmp_path / 'photos/07.png').write_bytes(b'damaged')
        return tmp_path / 'photos'

    @staticmethod
    def dataset(root, **options):
        pipeline = [dict(type='mmbeitv2.LoadRandomCrop', size=8, scale=(1, 1))]
        options = dict(on_error='replace', max_replaced=0.2) | options
        return unlabelled(root, pipeline=pipeline, **options)

    @staticmethod
    def seen(dataset, workers, epoch):
        sampler = EpochSampler(dataset, seed=3)
        sampler.set_epoch(epoch)
        loader = torch.utils.data.DataLoader(
            dataset, batch_size=4, sampler=sampler, num_workers=workers, collate_fn=pseudo_collate
        )
        return [path for batch in loader for path in batch['img_path']]

    def test_by_default_a_bad_file_ends_the_run(self, root):
        with pytest.raises(UserError, match=r"03\.png' cannot be read"):
            self.dataset(root, on_error='raise')[SampleIndex(3, 0, 0)]

    def test_replacements_depend_on_seed_and_epoch_alone(self, root):
        first = self.seen(self.dataset(root), workers=0, epoch=1)
        assert len(first) == 12
        assert not any(path.endswith(('03.png', '07.png')) for path in first)
        assert self.seen(self.dataset(root), workers=2, epoch=1) == first
        later = [self.seen(self.dataset(root), 0, epoch) for epoch in range(2, 6)]
        assert len({tuple(sorted(paths)) for paths in later}) > 1

    def test_bad_files_of_all_workers_are_listed_once(self, root, tmp_path):
        dataset = self.dataset(root)
        dataset.list_file = tmp_path / 'unread.txt'
        for epoch in (0, 1):
            self.seen(dataset, workers=2, epoch=epoch)
        lines = dataset.list_file.read_text().splitlines()
        named = {line.split('\t')[0].split('/')[-1] for line in lines}
        assert named == {'03.png', '07.png'}
        assert all('Error: ' in line for line in lines)

    def test_more_than_a_share_ends_the_run(self, root, tmp_path):
        dataset = self.dataset(root, max_replaced=0.1)
        dataset.list_file = tmp_path / 'unread.txt'
        with pytest.raises(UserError, match=r'2 of 12 images cannot be read.*bears 1'):
            self.seen(dataset, workers=0, epoch=0)

    def test_it_needs_a_sampler_that_knows_the_epoch(self, root):
        with pytest.raises(UserError, match=r'mmbeitv2\.EpochSampler'):
            self.dataset(root)[3]

    @pytest.mark.parametrize(
        'options', [dict(on_error='skip'), dict(with_label=True), dict(max_replaced=2)]
    )
    def test_options_outside_their_range_are_refused(self, root, options):
        options = dict(on_error='replace', with_label=False) | options
        with pytest.raises(UserError, match=r'on_error|max_replaced'):
            Photos(data_root=str(root), **options)

    def test_the_list_lies_in_the_runs_folder(self, root, tmp_path, beitv2, log_of):
        loader = dict(
            dataset=self.dataset(root), sampler=dict(type='mmbeitv2.EpochSampler'), batch_size=4
        )
        runner = Runner(
            beitv2,
            str(tmp_path / 'work'),
            loader,
            train_cfg=dict(by_epoch=True, max_epochs=1),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            experiment_name=tmp_path.name,
        )
        hook = ReplacedImagesHook()
        hook.before_train(runner)
        self.seen(runner.train_dataloader.dataset, workers=2, epoch=0)
        hook.after_train_epoch(runner)
        listed = tmp_path / 'work/unread_images.txt'
        assert len(listed.read_text().splitlines()) == 2
        log = log_of(runner)
        assert '2 of 12 images cannot be read and are replaced by others' in log
        assert f'listed in {listed}' in log


class TestCheckTool:
    """``tools/check_images.py``."""

    @pytest.fixture
    def check(self, tmp_path, monkeypatch, capsys):
        """Run the tool; return its exit code and its text."""
        monkeypatch.syspath_prepend(Path(mmbeitv2.__file__).parents[1] / 'tools')
        import check_images

        def run(*arguments, source=tmp_path / 'photos'):
            options = ['--out', str(tmp_path / 'out'), '--workers', '1', *arguments]
            monkeypatch.setattr(sys, 'argv', ['check_images.py', str(source), *options])
            code = 0
            try:
                check_images.main()
            except SystemExit as end:
                code = end.code
            return code, ''.join(capsys.readouterr())

        return run

    @pytest.fixture
    def root(self, tmp_path):
        for index in range(5):
            write_photo(tmp_path / f'photos/cat/{index}.png', seed=index)
        return tmp_path / 'photos'

    def bad(self, root):
        return [
            line.split('\t')[0] for line in (root.parent / 'out/bad.tsv').read_text().splitlines()
        ]

    @pytest.mark.parametrize('workers', ['1', '2'])
    def test_good_photos_end_with_0(self, root, check, workers):
        code, text = check('--workers', workers)
        assert code == 0
        assert '5 images, all can be read' in text
        assert self.bad(root) == []

    @pytest.mark.parametrize(
        'kind', ['folder', 'pipe', 'link to nothing', 'empty', 'text', 'truncated']
    )
    def test_a_bad_file_is_listed_and_ends_with_2(self, root, check, kind):
        unusual(root / 'cat/x.png', kind)
        code, text = check()
        assert code == 2
        assert 'error: 1 of ' in text
        assert self.bad(root) == ['cat/x.png']

    def test_a_stopped_check_goes_on(self, root, check, monkeypatch):
        (root / 'cat/0.png').write_text('no photo')
        import check_images

        read, names = check_images.reason_against, []

        def stopping(name, **options):
            names.append(name)
            if len(names) == 3:
                raise KeyboardInterrupt
            return read(name, **options)

        monkeypatch.setattr(check_images, 'reason_against', stopping)
        assert check()[0] == 130
        code, text = check()
        assert code == 2
        assert '2 of 5 images were checked before' in text
        assert names == [f'cat/{i}.png' for i in (0, 1, 2, 2, 3, 4)]
        assert self.bad(root) == ['cat/0.png']

    @pytest.mark.parametrize('lost', ['lines', 'a line end', 'list', 'note', 'half of the note'])
    def test_a_check_of_which_files_were_lost_begins_anew(self, root, check, monkeypatch, lost):
        """It had forgotten the images that it had found bad, or ended in a traceback."""
        (root / 'cat/0.png').write_text('no photo')
        import check_images

        read = check_images.reason_against

        def stopping(name, **options):
            if name == 'cat/3.png':
                raise KeyboardInterrupt
            return read(name, **options)

        with monkeypatch.context() as context:
            context.setattr(check_images, 'reason_against', stopping)
            assert check()[0] == 130
        listed, note = (root.parent / 'out' / name for name in ('bad.tsv', 'progress.json'))
        if lost == 'list':
            listed.unlink()
        elif lost in ('lines', 'a line end'):
            listed.write_text('' if lost == 'lines' else listed.read_text()[:-1])
        else:
            note.write_text('' if lost == 'note' else note.read_text()[:30])
        code, text = check()
        assert code == 2
        assert 'were checked before' not in text
        assert self.bad(root) == ['cat/0.png']

    def test_two_folders_of_one_name_have_a_result_each(self, check, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        import check_images

        def own(source):
            monkeypatch.setattr(sys, 'argv', ['check_images.py', source, '--workers', '1'])
            with suppress(SystemExit):
                check_images.main()

        for place in ('a', 'b'):
            write_photo(tmp_path / place / 'train/0.png')
            unusual(tmp_path / place / f'train/{place}.png', 'text')
        for source in ('a/train', 'b/train', 'a/train'):
            own(source)
        first, second = sorted((tmp_path / 'work_dirs/check_images').glob('*/bad.tsv'))
        assert first.parent.name == 'train'
        assert first.read_text().startswith('a.png\t')
        assert second.read_text().startswith('b.png\t')
        code, text = check('--out', str(first.parent), source='b/train')
        assert code == 2
        assert f'holds the result of {tmp_path}/a/train, but {tmp_path}/b/train is to be' in text
        assert first.read_text().startswith('a.png\t')

    def test_other_files_are_checked_anew(self, root, check):
        unusual(root / 'cat/0.png', 'text')
        assert check()[0] == 2
        write_photo(root / 'cat/0.png')
        assert check()[0] == 0

    def test_photos_of_a_tar_are_read_and_a_damaged_one_is_named(self, root, check, tmp_path):
        damaged = root / 'cat/3.png'
        damaged.write_bytes(damaged.read_bytes()[:90])
        with tarfile.open(tmp_path / 'all.tar', 'w') as tar:
            tar.add(root, 'photos')
        shutil.rmtree(root)
        (tmp_path / 'all.tar').rename(tmp_path / 'photos.tar')
        code, text = check(source=tmp_path / 'photos.tar')
        assert code == 2
        assert '1 of 5 images cannot be read' in text
        (name,) = self.bad(root)
        assert 'photos/cat/3.png' in name
        (tmp_path / 'photos.tar').write_bytes(b'no tar')
        code, text = check(source=tmp_path / 'photos.tar')
        assert (code, text.count('\n')) == (2, 1)
        assert 'cannot be read as a tar' in text

"""Photos in tars, tables, LMDB files and several folders: the same as in a folder, or one line."""

import io
import re
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DefaultScope
from PIL import Image
from torch.utils.data import DataLoader

import mmbeitv2
from mmbeitv2.datasets import EpochSampler, Photos, SampleIndex
from mmbeitv2.errors import (
    ExistingFileError,
    InputError,
    MissingFileError,
    UnreadableFileError,
    UserError,
)
from mmbeitv2.launch import preflight
from mmbeitv2.registry import DATASETS

PIPELINE = [
    dict(
        type='mmbeitv2.SampleSeeded',
        transforms=[dict(type='mmbeitv2.LoadRandomCrop', size=16, scale=(0.2, 1))],
    )
]
COUNT = 7
TOOLS = Path(mmbeitv2.__file__).parents[1] / 'tools'


def png(seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 32, 3), np.uint8)
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, 'PNG')
    return content.getvalue()


@pytest.fixture
def folder(tmp_path):
    """The photos as files, in the order of their names."""
    (tmp_path / 'folder').mkdir()
    for index in range(COUNT):
        (tmp_path / f'folder/{index:03}.png').write_bytes(png(index))
    return tmp_path / 'folder'


@pytest.fixture
def tars(tmp_path):
    """The same photos in two tars of WebDataset's own writer, with labels."""
    webdataset = pytest.importorskip('webdataset')
    for shard, indices in enumerate((range(4), range(4, COUNT))):
        with webdataset.TarWriter(str(tmp_path / f'shard-{shard:02}.tar')) as writer:
            for index in indices:
                writer.write({'__key__': f'{index:03}', 'png': png(index), 'cls': index % 3})
    return tmp_path


def table_of(datasets, indices, **columns):
    images = [dict(bytes=png(index), path=f'{index:03}.png') for index in indices]
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=['bird', 'cat', 'dog'])
    )
    return datasets.Dataset.from_dict(
        dict(image=images, label=[index % 3 for index in indices]), features=features
    )


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """The same photos in two Parquet files and in a saved data set."""
    datasets = pytest.importorskip('datasets')
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    datasets.disable_progress_bars()
    for part, indices in enumerate((range(4), range(4, COUNT))):
        table_of(datasets, indices).to_parquet(str(tmp_path / f'part-{part}.parquet'))
    table_of(datasets, range(COUNT)).save_to_disk(str(tmp_path / 'saved'))
    return tmp_path


@pytest.fixture
def pack(monkeypatch):
    """The tool that packs a folder into an LMDB file."""
    pytest.importorskip('lmdb')
    monkeypatch.syspath_prepend(TOOLS)
    from pack_images import pack

    return pack


@pytest.fixture
def lmdb_file(folder, tmp_path, pack):
    """The same photos in an LMDB file of this project's tool."""
    pack(folder, tmp_path / 'photos.lmdb')
    return tmp_path


def crops(data_root, prefix='', workers=0, start=0, **options):
    """All crops of the second epoch, from sample ``start`` on."""
    dataset = Photos(
        data_root=data_root, data_prefix=prefix, with_label=False, pipeline=PIPELINE, **options
    )
    sampler = EpochSampler(dataset, seed=3)
    sampler.set_epoch(1)
    sampler.start_at(1, start)
    loader = DataLoader(dataset, 2, sampler=sampler, num_workers=workers, collate_fn=pseudo_collate)
    return torch.stack([crop for batch in loader for crop in batch['img']])


def the_line(call, kind=UserError):
    with pytest.raises(kind) as caught:
        call()
    (line,) = str(caught.value).splitlines()
    return line


def check(dataset):
    """What a run checks of its training data before anything is built."""
    loader = dict(batch_size=2, dataset=dict(type='mmbeitv2.Photos', with_label=False, **dataset))
    preflight.check_data(Config(dict(train_dataloader=loader)), ['train'])


@pytest.mark.parametrize(('prefix', 'workers'), [('shard-*.tar', 2), ('shard-{00..01}.tar', 0)])
def test_tars_give_the_crops_of_the_folder(folder, tars, prefix, workers):
    assert torch.equal(crops(str(tars), prefix, workers), crops(str(folder)))


@pytest.mark.parametrize('prefix', ['part-*.parquet', 'saved'])
def test_hugging_face_datasets_give_the_crops_of_the_folder(folder, tables, prefix):
    assert torch.equal(crops(str(tables), prefix), crops(str(folder)))


def test_an_lmdb_file_gives_the_crops_of_the_folder(folder, lmdb_file):
    for workers in (0, 2):
        assert torch.equal(crops(str(lmdb_file), 'photos.lmdb', workers), crops(str(folder)))


def test_tars_go_on_within_an_epoch_where_they_were(tars):
    whole = crops(str(tars), 'shard-*.tar')
    assert torch.equal(crops(str(tars), 'shard-*.tar', start=4), whole[4:])


def test_labels_come_from_cls_members_and_label_columns(tars, tables):
    labels = [index % 3 for index in range(COUNT)]
    tarred = Photos(data_root=str(tars), data_prefix='shard-*.tar')
    assert tarred.get_gt_labels().tolist() == labels
    table = Photos(data_root=str(tables), data_prefix='part-*.parquet')
    assert table.get_gt_labels().tolist() == labels
    assert table.CLASSES == ('bird', 'cat', 'dog')


def test_places_of_all_kinds_are_one_data_set(folder, tars, tables, lmdb_file):
    roots = [
        str(folder),
        str(tars / 'shard-*.tar'),
        str(tables / 'saved'),
        str(lmdb_file / 'photos.lmdb'),
    ]
    check(dict(data_root=roots))
    dataset = Photos(data_root=roots, with_label=False, pipeline=[dict(type='mmbeitv2.LoadImage')])
    assert len(dataset) == 4 * COUNT
    for index in range(len(dataset)):
        expected = np.asarray(Image.open(io.BytesIO(png(index % COUNT))))
        assert (np.asarray(dataset[index]['img']) == expected).all()


def test_a_damaged_member_is_replaced_by_seed_epoch_and_index(tmp_path):
    with tarfile.open(tmp_path / 'photos.tar', 'w') as tar:
        for index in range(COUNT):
            content = b'no photo' if index == 2 else png(index)
            info = tarfile.TarInfo(f'{index:03}.png')
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    seen = [crops(str(tmp_path), 'photos.tar', workers, on_error='replace') for workers in (0, 2)]
    assert torch.equal(*seen)
    line = the_line(lambda: crops(str(tmp_path), 'photos.tar'), UnreadableFileError)
    assert 'photos.tar#002.png@' in line


def test_equal_names_in_two_folders_are_counted_with_their_copies(folder, tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr('mmbeitv2.datasets.photos.print_log', lambda line, **_: lines.append(line))
    other = tmp_path / 'other'
    other.mkdir()
    (other / '000.png').write_bytes(png(0))
    (other / '001.png').write_bytes(png(99))
    dataset = Photos(data_root=[str(folder), str(other)], with_label=False)
    assert len(dataset) == COUNT + 2
    assert '2 photos have the name of one in another of the 2 folders, such as 000.png' in lines[-1]
    assert '1 of the first 2 are copies' in lines[-1]


def test_one_folder_twice_or_in_another_is_refused(folder, tmp_path):
    (tmp_path / 'link').symlink_to(folder)
    for other in (folder, tmp_path / 'link', tmp_path):
        line = the_line(lambda other=other: check(dict(data_root=[str(folder), str(other)])))
        assert 'photos would be seen twice' in line


def test_labels_of_several_class_folders_are_refused(folder):
    line = the_line(lambda: Photos(data_root=[str(folder), str(folder.parent / 'x')]), UserError)
    assert 'with_label=False' in line


@pytest.mark.parametrize(
    ('spoil', 'said'),
    [
        (lambda content: content[: len(content) // 2], 'is truncated'),
        (lambda content: b'', 'cannot be read as a tar'),
        (lambda content: b'text' * 1000, 'cannot be read as a tar'),
    ],
)
def test_a_truncated_tar_is_refused_before_training(tars, spoil, said):
    path = tars / 'shard-01.tar'
    path.write_bytes(spoil(path.read_bytes()))
    line = the_line(
        lambda: check(dict(data_root=str(tars), data_prefix='shard-*.tar')), UnreadableFileError
    )
    assert said in line
    assert str(path) in line


def test_a_tar_without_photos_is_refused_before_training(tmp_path):
    (tmp_path / 'notes.txt').write_text('no photo')
    with tarfile.open(tmp_path / 'notes.tar', 'w') as tar:
        tar.add(tmp_path / 'notes.txt', 'notes.txt')
    line = the_line(lambda: check(dict(data_root=str(tmp_path / 'notes.tar'))), InputError)
    assert 'no image' in line


def test_a_tar_without_labels_names_the_photo(tmp_path, folder):
    with tarfile.open(tmp_path / 'photos.tar', 'w') as tar:
        tar.add(folder / '000.png', '000.png')
    line = the_line(lambda: Photos(data_root=str(tmp_path / 'photos.tar')), InputError)
    assert "'000.png'" in line
    assert '000.cls' in line


def test_compressed_tars_and_absent_shards_are_refused(tmp_path, tars):
    line = the_line(lambda: check(dict(data_root=str(tmp_path / 'a.tar.gz'))), InputError)
    assert 'unpack' in line
    line = the_line(
        lambda: check(dict(data_root=str(tars / 'shard-{00..02}.tar'))), MissingFileError
    )
    assert 'shard-02.tar' in line


def test_parquet_without_an_image_column_names_its_columns(tmp_path):
    datasets = pytest.importorskip('datasets')
    path = tmp_path / 'words.parquet'
    datasets.Dataset.from_dict(dict(word=['a'], count=[1])).to_parquet(str(path))
    line = the_line(lambda: check(dict(data_root=str(path))), InputError)
    assert 'word (' in line
    assert 'count (' in line
    assert 'image_column' in line


def test_a_damaged_parquet_file_is_refused_before_training(tables):
    path = tables / 'part-1.parquet'
    path.write_bytes(path.read_bytes()[:-40])
    line = the_line(
        lambda: check(dict(data_root=str(tables), data_prefix='part-*.parquet')),
        UnreadableFileError,
    )
    assert str(path) in line


def test_a_saved_data_set_of_several_splits_asks_for_one(tmp_path):
    datasets = pytest.importorskip('datasets')
    splits = datasets.DatasetDict(train=table_of(datasets, range(2)))
    splits.save_to_disk(str(tmp_path / 'splits'))
    line = the_line(lambda: check(dict(data_root=str(tmp_path / 'splits'))), InputError)
    assert 'splits/train' in line


def test_a_file_that_is_no_lmdb_is_refused_before_training(tmp_path):
    pytest.importorskip('lmdb')
    (tmp_path / 'photos.lmdb').write_bytes(b'text' * 4096)
    line = the_line(lambda: check(dict(data_root=str(tmp_path / 'photos.lmdb'))))
    assert 'tools/pack_images.py' in line


def test_nothing_is_packed_over_an_existing_file(folder, lmdb_file, pack):
    target = lmdb_file / 'photos.lmdb'
    before = target.read_bytes()
    line = the_line(lambda: pack(folder, target), ExistingFileError)
    assert 'exists' in line
    assert target.read_bytes() == before
    assert not list(lmdb_file.glob('*.part*'))


def documented(start):
    """The command of docs/own_data.md that begins so."""
    text = (TOOLS.parent / 'docs/own_data.md').read_text()
    blocks = [block for block in text.split('```')[1::2] if start in block]
    assert len(blocks) == 1
    return blocks[0].removeprefix('bash\n')


def test_the_documented_list_command_finds_what_is_no_jpeg(tmp_path):
    photos = tmp_path / 'data/own/train'
    (photos / 'deep').mkdir(parents=True)
    (photos / '.hidden').mkdir()
    names = ['a.jpg', 'b.PNG', 'c.webp', 'd.tif', 'deep/e.TIFF', 'f.jpeg']
    for name in [*names, 'notes.txt', '.hidden/g.jpg']:
        (photos / name).write_bytes(png(0))
    subprocess.run(documented('> ../train.txt'), shell=True, check=True, cwd=tmp_path)
    assert (tmp_path / 'data/own/train.txt').read_text().splitlines() == sorted(names)


def test_the_documented_lmdb_block_gives_a_config_that_reads(tmp_path, folder, pack):
    data = tmp_path / 'data/own'
    data.mkdir(parents=True)
    block = documented('pack_images.py')
    options = re.findall(r'(\w+)_dataloader.dataset.data_prefix=(\S+)', block)
    assert [phase for phase, _ in options] == ['train', 'val']
    config = Config.fromfile(TOOLS.parent / 'configs/own_data/beitv2_own-data.py')
    for phase, name in options:
        pack(folder, data / name)
        dataset = config[f'{phase}_dataloader'].dataset
        dataset.update(data_root=str(data), data_prefix=name)
    preflight.check_data(config, ['train', 'val'])
    for phase, _ in options:
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            dataset = DATASETS.build(config[f'{phase}_dataloader'].dataset)
        assert len(dataset) == COUNT
        assert dataset[SampleIndex(0, 0, 0)]['inputs'].shape == (3, 224, 224)


def test_a_truncated_lmdb_file_is_one_line_and_no_signal(lmdb_file):
    path = lmdb_file / 'photos.lmdb'
    path.write_bytes(path.read_bytes()[:8192])
    line = the_line(lambda: crops(str(lmdb_file), 'photos.lmdb'), UnreadableFileError)
    assert 'is truncated: it has 8192 of' in line


def test_an_lmdb_file_may_be_read_under_two_names(lmdb_file, monkeypatch):
    monkeypatch.chdir(lmdb_file)
    assert torch.equal(crops(str(lmdb_file), 'photos.lmdb'), crops('.', 'photos.lmdb'))

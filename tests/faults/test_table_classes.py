"""Classes of tables and tars: numbered by training's names, in every split, or refused."""

import io

import pytest
from mmengine.config import Config
from PIL import Image

from mmbeitv2.datasets import Photos
from mmbeitv2.errors import InputError
from mmbeitv2.launch import preflight

datasets = pytest.importorskip('datasets')
CLASSES = ('bird', 'cat', 'dog')


def png(shade: int) -> bytes:
    content = io.BytesIO()
    Image.new('L', (8, 8), shade).save(content, 'PNG')
    return content.getvalue()


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Write a Parquet file with a photo of each class, in the order of their names."""
    monkeypatch.setattr(datasets.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')
    datasets.disable_progress_bars()

    def write(name, classes):
        features = datasets.Features(
            image=datasets.Image(), label=datasets.ClassLabel(names=list(classes))
        )
        rows = dict(
            image=[
                dict(bytes=png(10 * CLASSES.index(c)), path=f'{c}.png') for c in sorted(classes)
            ],
            label=[list(classes).index(c) for c in sorted(classes)],
        )
        datasets.Dataset.from_dict(rows, features=features).to_parquet(str(tmp_path / name))
        return name

    return write


@pytest.fixture
def folders(tmp_path):
    for name in CLASSES:
        (tmp_path / 'folders' / name).mkdir(parents=True)
        (tmp_path / 'folders' / name / f'{name}.png').write_bytes(png(0))
    return 'folders'


def settled(root, train, val):
    """Labels of the validation photos, bird, cat, dog, as a run would have them."""
    loaders = {
        f'{split}_dataloader': dict(
            batch_size=1,
            dataset=dict(type='mmbeitv2.Photos', data_root=str(root), data_prefix=prefix),
        )
        for split, prefix in (('train', train), ('val', val))
    }
    cfg = Config(dict(model=dict(head=dict(num_classes=3)), **loaders))
    preflight.check_data(cfg, ['train', 'val'])
    dataset = dict(cfg.val_dataloader.dataset)
    dataset.pop('type')
    return Photos(**dataset).get_gt_labels().tolist()


def test_a_table_with_its_classes_in_another_order_gets_trainings_labels(table, tmp_path):
    train, val = table('train.parquet', CLASSES), table('val.parquet', CLASSES[::-1])
    assert settled(tmp_path, train, val) == [0, 1, 2]
    assert settled(tmp_path, val, train) == [2, 1, 0]


def test_tables_and_folders_of_one_run_are_numbered_alike(table, folders, tmp_path):
    turned = table('turned.parquet', CLASSES[::-1])
    assert settled(tmp_path, turned, folders) == [2, 1, 0]
    assert settled(tmp_path, folders, turned) == [0, 1, 2]


def test_tables_of_one_data_set_are_numbered_by_the_first(table, tmp_path):
    names = [table('a.parquet', CLASSES), table('b.parquet', CLASSES[::-1])]
    both = Photos(data_root=[str(tmp_path / name) for name in names])
    assert both.get_gt_labels().tolist() == [0, 1, 2, 0, 1, 2]
    assert both.CLASSES == CLASSES


def test_classes_that_training_does_not_have_are_refused(table, tmp_path):
    train, val = table('train.parquet', CLASSES[:2]), table('val.parquet', CLASSES)
    with pytest.raises(InputError, match=r"val_dataloader.*no classes of training.*'dog'"):
        settled(tmp_path, train, val)


def test_a_label_of_a_tar_beyond_the_head_is_found_before_the_run(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / 'photos.tar', 'w') as tar:
        for name, content in (('1.png', png(1)), ('1.cls', b'99')):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    with pytest.raises(InputError, match=r'has the label 99, but allowed is .* from 0 to 2'):
        settled(tmp_path, 'photos.tar', 'photos.tar')


def test_tars_and_lists_do_not_need_each_others_folders(folders, tmp_path):
    import tarfile

    with tarfile.open(tmp_path / 'train.tar', 'w') as tar:
        for name, content in (('1.png', png(1)), ('1.cls', b'0')):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (tmp_path / 'val.txt').write_text('bird/bird.png 0\n')
    loaders = dict(
        train_dataloader=dict(batch_size=1, dataset=dict(
            type='mmbeitv2.Photos', data_root=str(tmp_path), data_prefix='train.tar')),
        val_dataloader=dict(batch_size=1, dataset=dict(
            type='mmbeitv2.Photos', data_root=str(tmp_path), data_prefix=folders,
            ann_file='val.txt')),
    )  # fmt: skip
    preflight.check_data(Config(loaders), ['train', 'val'])

"""Labels are numbered by training, whichever class folders a split has."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from photo_files import write_classes

from mmbeitv2.datasets import Photos
from mmbeitv2.engine import SameClassesHook
from mmbeitv2.errors import UserError
from mmbeitv2.evaluation import ImageNetSubsetAccuracy
from mmbeitv2.launch import preflight


@pytest.fixture
def classes(tmp_path):
    """Write class folders of a split: ``classes('train', 'cat', 'dog')``."""

    def write(split, *names):
        write_classes(tmp_path / split, *names)
        return tmp_path

    return write


def labels_of(dataset):
    """Label of every class folder that has an image."""
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return {info['img_path'].split('/')[-2]: info['gt_label'] for info in infos}


def validation(root, **options):
    return Photos(data_root=str(root), data_prefix='val', classes_from='train', **options)


def config(root, kind='mmbeitv2.Photos', test=False, num_classes=3, **options):
    cfg = Config(dict(model=dict(head=dict(num_classes=num_classes))))
    for name in ('train', 'test' if test else 'val'):
        dataset = dict(type=kind, data_root=str(root), data_prefix='train')
        if name != 'train':
            dataset.update(data_prefix='val', **options)
            if kind == 'mmbeitv2.Photos':
                dataset['classes_from'] = 'train'
        cfg[f'{name}_dataloader'] = dict(dataset=dataset)
    return cfg


def checkpoint(path, names):
    torch.save(dict(state_dict={}, meta=dict(dataset_meta=dict(classes=tuple(names)))), path)
    return str(path)


def test_a_split_without_a_class_keeps_trainings_labels(classes):
    root = classes('train', 'cat', 'dog', 'emu')
    classes('val', 'cat', 'emu')
    dataset = validation(root)
    assert labels_of(dataset) == {'cat': 0, 'emu': 2}
    assert dataset.metainfo['classes'] == ('cat', 'dog', 'emu')
    preflight.check(config(root))


@pytest.mark.parametrize('kind', ['mmbeitv2.Photos', 'CustomDataset'])
@pytest.mark.parametrize(
    ('folders', 'faulty'),
    [(('cat', 'dog', 'emu', 'fox'), 'fox'), (('cat', 'dog', 'emo'), 'emo')],
    ids=['extra', 'renamed'],
)
def test_a_class_that_training_lacks_is_named(classes, kind, folders, faulty):
    root = classes('train', 'cat', 'dog', 'emu')
    classes('val', *folders)
    with pytest.raises(UserError, match=f"no classes of training.*'{faulty}'"):
        preflight.check(config(root, kind, num_classes=4))
    if kind != 'CustomDataset':
        with pytest.raises(UserError, match=f"no classes of training.*'{faulty}'"):
            validation(root)


def test_mmpretrains_data_set_without_a_class_is_refused(classes):
    """It would number the folders that are there."""
    root = classes('train', 'cat', 'dog', 'emu')
    classes('val', 'cat', 'emu')
    with pytest.raises(UserError, match="lacks the class folders 'dog'"):
        preflight.check(config(root, 'CustomDataset'))
    (root / 'val/dog').mkdir()
    preflight.check(config(root, 'CustomDataset'))


def test_hidden_folders_are_no_classes(classes):
    root = classes('train', '.ipynb_checkpoints', 'cat', 'dog')
    classes('val', '.ipynb_checkpoints', 'cat', 'dog')
    for dataset in (Photos(data_root=str(root), data_prefix='train'), validation(root)):
        assert labels_of(dataset) == {'cat': 0, 'dog': 1}
    preflight.check(config(root))
    with pytest.raises(UserError, match=r"hidden folders '\.ipynb_checkpoints'"):
        preflight.check(config(root, 'CustomDataset'))


@pytest.mark.parametrize('kind', ['mmbeitv2.Photos', 'CustomDataset'])
def test_a_class_of_training_without_an_image_is_named(classes, kind):
    root = classes('train', 'cat', 'dog')
    (root / 'train/ant').mkdir()
    (root / 'train/ant/notes.txt').write_text('no photo')
    (root / 'train/ant/gone.jpg').symlink_to('nowhere.jpg')
    with pytest.raises(UserError, match=r"class folder '.*/ant' is empty"):
        preflight.check(config(root, kind), phases=('train',))
    if kind != 'CustomDataset':
        with pytest.raises(UserError, match="without an image that can be read: 'ant'"):
            Photos(data_root=str(root), data_prefix='train')


def test_given_classes_number_the_folders_by_name(classes):
    root = classes('train', 'cat', 'dog')
    dataset = Photos(data_root=str(root), data_prefix='train', classes=['dog', 'emu', 'cat'])
    assert labels_of(dataset) == {'cat': 2, 'dog': 0}


def test_pretty_names_stand_in_the_order_of_the_folders(classes):
    root = classes('train', 'cat', 'dog')
    dataset = Photos(data_root=str(root), data_prefix='train', classes=['Katze', 'Hund'])
    assert labels_of(dataset) == {'cat': 0, 'dog': 1}
    assert dataset.metainfo['classes'] == ('Katze', 'Hund')


@pytest.mark.parametrize('by_list', ['train', 'val'])
def test_a_list_numbers_classes_as_the_folders_of_the_other_split_do(classes, by_list):
    root = classes('train', 'cat', 'dog')
    classes('val', 'cat', 'dog')
    cfg = config(root)
    cfg[f'{by_list}_dataloader'].dataset.ann_file = 'list.txt'
    (root / 'list.txt').write_text('cat/0.png 0\ndog/0.png 1\n')
    preflight.check(cfg)
    (root / 'list.txt').write_text('cat/0.png 1\ndog/0.png 0\n')
    with pytest.raises(UserError, match=r"images of 'cat' have the label . in .*in training"):
        preflight.check(cfg)


class TestCheckpoint:
    """Testing on a machine that has no training data."""

    @pytest.fixture
    def root(self, classes):
        return classes('val', 'cat', 'emu')

    def test_its_classes_number_the_labels(self, root, tmp_path):
        cfg = config(root, test=True)
        cfg.load_from = checkpoint(tmp_path / 'last.pth', ('cat', 'dog', 'emu'))
        preflight.check(cfg, phases=('test',))
        assert labels_of(DATASETS.build(cfg.test_dataloader.dataset)) == {'cat': 0, 'emu': 2}

    @pytest.mark.parametrize('kind', ['mmbeitv2.Photos', 'CustomDataset'])
    def test_other_folders_are_named(self, root, tmp_path, kind):
        cfg = config(root, kind, test=True)
        cfg.load_from = checkpoint(tmp_path / 'last.pth', ('ant', 'bee', 'cat'))
        with pytest.raises(UserError, match=r"no classes of the checkpoint.*'emu'.*'ant', 'bee'"):
            preflight.check(cfg, phases=('test',))

    def test_without_its_names_fewer_folders_than_classes_are_refused(self, root, tmp_path):
        cfg = config(root, test=True)
        cfg.load_from = str(tmp_path / 'converted.pth')
        torch.save(dict(state_dict={}), cfg.load_from)
        with pytest.raises(UserError, match='2 class folders, the head 3 classes'):
            preflight.check(cfg, phases=('test',))
        cfg.model.head.num_classes = 2
        preflight.check(cfg, phases=('test',))
        assert labels_of(DATASETS.build(cfg.test_dataloader.dataset)) == {'cat': 0, 'emu': 1}

    def test_some_of_imagenets_classes_compete_among_themselves(self, classes, tmp_path):
        """ImageNet-A and -R: their metric knows the synsets."""
        synsets = ('n01443537', 'n01484850')
        root = classes('val', *synsets)
        cfg = config(root, test=True, num_classes=1000)
        del cfg.test_dataloader.dataset['classes_from']
        cfg.test_evaluator = dict(type='mmbeitv2.ImageNetSubsetAccuracy', num_classes=2)
        cfg.load_from = checkpoint(tmp_path / 'last.pth', ('cat', 'dog'))
        preflight.check(cfg, phases=('test',))
        # Beside ImageNet itself, whose list says 1 and 2.
        cfg.train_dataloader.dataset.ann_file = 'list.txt'
        (root / 'list.txt').write_text(
            ''.join(f'{s}/0.png {i + 1}\n' for i, s in enumerate(synsets))
        )
        preflight.check(cfg, phases=('test',))
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        assert labels_of(dataset) == dict(zip(synsets, (0, 1), strict=True))
        metric = ImageNetSubsetAccuracy(num_classes=2)
        metric.dataset_meta = dataset.metainfo
        assert metric.class_indices.tolist() == [1, 2]


def test_a_run_whose_classes_have_changed_is_not_resumed(classes, make_runner, beitv2):
    root = classes('train', 'cat', 'dog')
    runner = make_runner(beitv2)
    runner.train_dataloader.dataset.metainfo = Photos(str(root), 'train').metainfo
    runner.cfg.resume = True
    check = SameClassesHook().after_load_checkpoint
    check(runner, dict(meta=dict(dataset_meta=dict(classes=('cat', 'dog')))))
    with pytest.raises(UserError, match=r"'dog' came; 'bee' went"):
        check(runner, dict(meta=dict(dataset_meta=dict(classes=('bee', 'cat')))))


def test_a_data_set_named_by_its_class_is_checked_as_by_its_name(tmp_path):
    from mmpretrain.datasets import CustomDataset

    for split in ('train', 'val'):
        (tmp_path / split / 'cat').mkdir(parents=True)
    loader = dict(
        dataset=dict(type=CustomDataset, data_root=str(tmp_path), data_prefix='train'),
    )
    with pytest.raises(ValueError, match='cat'):
        preflight.check_data(Config(dict(train_dataloader=loader)), ('train',))

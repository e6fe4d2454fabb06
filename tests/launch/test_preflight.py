"""Missing data and checkpoints are found before anything is built, with the cure."""

import pytest
from mmengine.config import Config

from mmbeitv2.launch import preflight
from mmbeitv2.launch.initial_weights import TOKENIZER_CONFIG


def classification(data_root, **dataset):
    return Config(
        {
            'train_dataloader': {
                'batch_size': 2,
                'sampler': {'type': 'DefaultSampler', 'shuffle': True},
                'dataset': {'type': 'ImageNet', 'data_root': str(data_root), **dataset},
            }
        }
    )


def pretraining(checkpoint):
    return Config(
        {
            'tokenizer_checkpoint': checkpoint,
            'model': {
                'type': 'mmbeitv2.BEiTV2',
                'target_generator': {'init_cfg': {'type': 'Pretrained', 'checkpoint': checkpoint}},
            },
        }
    )


def test_missing_data_root_names_path_dataloader_and_cure(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        preflight.check(classification(tmp_path / 'imagenet', split='train'))
    message = str(error.value)
    assert str(tmp_path / 'imagenet') in message
    assert 'train_dataloader' in message
    assert '--cfg-options train_dataloader.dataset.data_root=PATH' in message


def test_missing_split_of_imagenet_is_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"split of ImageNet is '.*train'"):
        preflight.check(classification(tmp_path, split='train'))
    (tmp_path / 'train' / 'cat').mkdir(parents=True)
    (tmp_path / 'train' / 'cat' / 'photo.jpg').touch()
    preflight.check(classification(tmp_path, split='train', metainfo=dict(classes=['cat'])))


def test_fewer_class_folders_than_imagenet_has_are_one_line(tmp_path):
    for name in ('cat', 'dog'):
        (tmp_path / 'train' / name).mkdir(parents=True)
        (tmp_path / 'train' / name / 'photo.jpg').touch()
    with pytest.raises(ValueError, match='has 2 class folders, but ImageNet has 1,000') as refusal:
        preflight.check(classification(tmp_path, split='train'))
    assert "type='mmbeitv2.Photos' and num_classes=2" in str(refusal.value)
    assert '\n' not in str(refusal.value)


def test_missing_prefix_is_found_through_dataset_wrappers(tmp_path):
    (tmp_path / 'images').mkdir()
    inner = {
        'type': 'ADE20KDataset',
        'data_root': str(tmp_path),
        'data_prefix': {'img_path': 'images', 'seg_map_path': 'annotations'},
    }
    wrapped = {'type': 'ConcatDataset', 'datasets': [{'type': 'RepeatDataset', 'dataset': inner}]}
    cfg = Config({'val_dataloader': {'batch_size': 1, 'dataset': wrapped}})
    with pytest.raises(FileNotFoundError, match='val_dataloader: the seg_map_path of ADE20K'):
        preflight.check(cfg)
    (tmp_path / 'annotations').mkdir()
    preflight.check(cfg)


def test_missing_annotation_file_is_found(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"ann_file of ImageNet is '.*list\.txt'"):
        preflight.check(classification(tmp_path, ann_file='list.txt', data_prefix='.'))


def test_data_of_other_phases_is_not_asked_for(tmp_path):
    cfg = classification(tmp_path / 'missing')
    preflight.check(cfg, phases=('test',))
    with pytest.raises(FileNotFoundError, match='train_dataloader: the data_root'):
        preflight.check(cfg, phases=('train', 'test'))


def test_missing_tokenizer_names_both_ways_to_get_one(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        preflight.check(pretraining(str(tmp_path / 'tokenizer.pth')))
    message = str(error.value)
    assert str(tmp_path / 'tokenizer.pth') in message
    assert f'tools/train.py {TOKENIZER_CONFIG}' in message
    assert '--cfg-options tokenizer_checkpoint=vqkd-b16-clip' in message


def test_tokenizer_may_be_a_file_or_a_url(tmp_path):
    file = tmp_path / 'tokenizer.pth'
    file.touch()
    preflight.check(pretraining(str(file)))
    preflight.check(pretraining('https://example.org/tokenizer.pth'))
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r'tokenizer\.pth'):
        preflight.check(pretraining(str(file)))


def test_missing_checkpoint_of_any_part_names_its_key():
    backbone = {'init_cfg': {'type': 'Pretrained', 'checkpoint': 'nowhere.pth'}}
    with pytest.raises(FileNotFoundError, match=r'model\.backbone\.init_cfg\.checkpoint is'):
        preflight.check(Config({'model': {'backbone': backbone}}))


def test_evaluation_needs_no_initial_weights():
    """The checkpoint under test holds all weights, also on a machine that has no other."""
    cfg = pretraining('nowhere.pth')
    preflight.check(cfg, phases=('test',))
    with pytest.raises(FileNotFoundError, match=r'nowhere\.pth'):
        preflight.check(cfg, phases=('train', 'test'))


def test_missing_checkpoint_to_resume_from_is_found():
    with pytest.raises(FileNotFoundError, match=r"'nowhere\.pth' to load or resume from"):
        preflight.check(Config({'load_from': 'nowhere.pth', 'resume': True}))


def test_the_folder_of_a_run_is_tested_but_not_resumed_from(tmp_path):
    (tmp_path / 'epoch_1.pth').touch()
    (tmp_path / 'last_checkpoint').write_text('epoch_1.pth')
    cfg = Config({'load_from': str(tmp_path)})
    preflight.check(cfg, phases=('test',))
    with pytest.raises(FileNotFoundError, match='to load or resume from does not exist'):
        preflight.check(Config({**cfg, 'resume': True}))


def test_a_misspelt_name_of_published_weights_to_test_is_told_the_nearest():
    with pytest.raises(FileNotFoundError, match=r'a name like it: beitv2-b16-300e-in1k,'):
        preflight.check(Config({'load_from': 'beitv2-b16-300e-in1'}), phases=('test',))


class TestClassFolders:
    """Labels that folders are to give."""

    @pytest.fixture
    def photos(self, tmp_path):
        for name in ('cat', 'dog'):
            (tmp_path / name).mkdir()
            (tmp_path / name / 'photo.jpg').touch()
        return tmp_path

    @staticmethod
    def config(folder, num_classes=2, **dataset):
        cfg = classification(folder, type='CustomDataset', **dataset)
        cfg.model = dict(head=dict(num_classes=num_classes))
        return cfg

    def test_unlabelled_photos_are_refused(self, tmp_path):
        (tmp_path / 'photo.jpg').touch()
        with pytest.raises(ValueError, match=r'has no class folders.*ann_file'):
            preflight.check(self.config(tmp_path))
        preflight.check(self.config(tmp_path, with_label=False))

    def test_empty_class_is_refused(self, photos):
        (photos / 'emu').mkdir()
        with pytest.raises(ValueError, match=r"class folder '.*emu' is empty"):
            preflight.check(self.config(photos, num_classes=3))

    def test_more_classes_than_the_head_has_are_refused(self, photos):
        preflight.check(self.config(photos, num_classes=2))
        with pytest.raises(ValueError, match=r'2 class folders, but the head 1.*num_classes=2'):
            preflight.check(self.config(photos, num_classes=1))

    def test_a_list_is_not_looked_into(self, tmp_path):
        (tmp_path / 'list.txt').write_text('cat/photo.jpg 0\n')
        preflight.check(self.config(tmp_path, ann_file='list.txt'))
        with pytest.raises(ValueError, match='has no class folders'):
            preflight.check(self.config(tmp_path))


@pytest.mark.parametrize('head', ['decode_head', 'auxiliary_head'])
def test_segmentation_head_with_other_classes_than_the_data_names_both(head, tmp_path):
    for folder in ('images', 'annotations'):
        (tmp_path / folder).mkdir()
    dataset = {
        'type': 'ADE20KDataset',
        'data_root': str(tmp_path),
        'data_prefix': {'img_path': 'images', 'seg_map_path': 'annotations'},
    }
    model = {'decode_head': {'num_classes': 150}, 'auxiliary_head': {'num_classes': 150}}
    cfg = Config({'default_scope': 'mmseg', 'train_dataloader': {'dataset': dataset}})
    cfg.model = model
    preflight.check(cfg)
    cfg.model[head].num_classes = 19
    with pytest.raises(ValueError, match=rf'{head}\.num_classes is 19, but ADE20KDataset.* 150 cl'):
        preflight.check(cfg)
    cfg.train_dataloader.dataset.metainfo = {'classes': ('wall', 'sky')}
    with pytest.raises(ValueError, match=r'of train_dataloader has 2 classes'):
        preflight.check(cfg)


@pytest.mark.parametrize(
    'hooks',
    [
        {'default_hooks': {'timer': None, 'ema': {'type': 'EMAHook'}}},
        {'default_hooks': {'ema': {'type': 'mmbeitv2.EMAHook'}}},
        {'custom_hooks': [{'type': 'mmbeitv2.CodebookInitHook'}]},
    ],
)
def test_sharded_run_refuses_hooks_that_need_the_whole_model(hooks):
    preflight.check(Config(hooks))
    with pytest.raises(ValueError, match=r'(EMA|Codebook).*ShardedStrategy .* remove the hook'):
        preflight.check(Config({**hooks, 'strategy': {'type': 'mmbeitv2.ShardedStrategy'}}))


@pytest.mark.parametrize('phase', ['val', 'test'])
@pytest.mark.parametrize('quantizer', [{'num_codes': 64}, {}], ids=str)
@pytest.mark.parametrize('nested', [False, True])
def test_evaluators_that_count_other_codes_than_the_model_has_are_refused(phase, quantizer, nested):
    metric = {'type': 'mmbeitv2.TokenizerMetric', 'num_codes': 32}
    cfg = Config(
        {
            'model': {'type': 'mmbeitv2.VQKD', 'quantizer': quantizer},
            f'{phase}_evaluator': {'metrics': [metric]} if nested else [metric],
        }
    )
    key = f'{phase}_evaluator.metrics.0.' if nested else f'{phase}_evaluator.0.'
    expected = quantizer.get('num_codes', 8192)
    with pytest.raises(
        ValueError, match=rf'{key}num_codes is 32 but the model has {expected} codes: set {key}'
    ):
        preflight.check(cfg, (phase,))
    metric['num_codes'] = expected
    cfg[f'{phase}_evaluator'] = [metric]
    preflight.check(cfg, (phase,))

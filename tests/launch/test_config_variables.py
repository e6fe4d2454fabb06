"""A variable that an heir or the command line sets reaches what derives from it, or is refused."""

import json
import re
from pathlib import Path

import pytest
from mmengine.config import Config
from torch.optim import AdamW

from mmbeitv2.launch import config_keys
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.config_copies import is_plain
from mmbeitv2.launch.config_keys import KNOWN_KEYS, dotted_keys

CONFIGS = Path(__file__).parents[2] / 'configs'
BASE = """
num_codes = 1024  # the tokenizer's
grid = num_codes // 64
pipeline = [dict(type='Crop', size=grid), dict(type='Pack')]
model = dict(
    head=dict(num_codes=num_codes), quantizer=dict(num_codes=num_codes, name='codes'))
train_dataloader = dict(batch_size=3, dataset=dict(pipeline=pipeline))
val_dataloader = dict(batch_size=4, dataset=dict(pipeline=pipeline))
"""


@pytest.fixture
def write(tmp_path):
    """Write a config beside the others, inheriting ``base.py``; return its path."""
    (tmp_path / 'base.py').write_text(BASE)

    def heir(text, base='base.py', name='heir.py'):
        (tmp_path / name).write_text(f'_base_ = {base!r}\n{text}')
        return tmp_path / name

    return heir


def codes(cfg):
    return cfg.num_codes, cfg.model.head.num_codes, cfg.model.quantizer.num_codes


class TestOptions:
    def test_what_derives_from_a_variable_follows(self, write):
        cfg = load_config(write('seed = 1\n'), {'num_codes': 128})
        assert codes(cfg) == (128, 128, 128)
        assert cfg.train_dataloader.dataset.pipeline[0].size == 2

    def test_it_holds_against_an_heirs_value(self, write):
        assert codes(load_config(write('num_codes = 64\n'), {'num_codes': 128})) == (128,) * 3

    def test_a_key_of_the_run_set_beside_it_is_obeyed(self, write):
        cfg = load_config(write(''), {'num_codes': 128, 'model.head.num_codes': 7})
        assert codes(cfg) == (128, 7, 128)

    def test_a_part_of_a_variable_reaches_all_who_use_it(self, write):
        cfg = load_config(write(''), {'pipeline.0.size': 5})
        assert cfg.train_dataloader.dataset.pipeline[0].size == 5
        assert cfg.val_dataloader.dataset.pipeline[0].size == 5

    @pytest.mark.parametrize('text', ["a'b", 'ü', 'x\\y', float('inf'), None, (1, [2.5, True])])
    def test_any_plain_value_arrives_as_it_is(self, write, text):
        path = write("name = 'x'\nmodel = dict(name=name)\n")
        assert load_config(path, {'name': text}).model.name == text

    @pytest.mark.parametrize(
        'statements',
        [
            'if True:\n    name = 1\nmodel = dict(name=name)',
            'name = other = 1; model = dict(name=name)',
            'name: int = 1\nmodel = dict(name=name)',
            'name = 1\nname += 4\nmodel = dict(name=name)',
            "words = '''ä\n  '''; (name, other) = (\n    1,\n    2)\nmodel = dict(name=name)",
        ],
    )
    def test_wherever_a_file_sets_it(self, write, statements):
        assert load_config(write(statements), {'name': 9}).model.name == 9

    def test_one_that_nothing_uses_is_refused_with_the_keys_that_work(self, write):
        path = write('num_codes = 2\nmodel = dict(head=dict(num_codes=5))\nseed = num_codes\n')
        with pytest.raises(ValueError, match=r'batch_size.*set train_dataloader.batch_size, val_'):
            load_config(path, {'batch_size': 3})

    def test_one_whose_derived_values_an_heir_replaces_is_refused(self, write):
        path = write(
            'model = dict(head=dict(num_codes=5), quantizer=dict(num_codes=5))\n'
            "train_dataloader = dict(dataset=dict(pipeline=[dict(type='Pack')]))\n"
            'val_dataloader = train_dataloader\n'
        )
        with pytest.raises(ValueError, match=r'num_codes=128 would change nothing.*model\.head\.'):
            load_config(path, {'num_codes': 128})

    def test_of_a_dumped_config_it_is_refused_with_the_places(self, write, tmp_path):
        load_config(write('')).dump(tmp_path / 'dump.py')
        with pytest.raises(ValueError, match=r'model\.head\.num_codes, model\.quantizer'):
            load_config(tmp_path / 'dump.py', {'num_codes': 3})

    def test_a_value_of_the_users_own_is_changed(self, write):
        assert load_config(write('patience = 3\n'), {'patience': 5}).patience == 5

    def test_a_preprocessor_behind_the_models_own_is_refused(self, write):
        path = write('model = dict(data_preprocessor=dict(size=3))\ndata_preprocessor = dict(a=1)')
        with pytest.raises(ValueError, match=r'set model\.data_preprocessor\.size'):
            load_config(path, {'data_preprocessor.size': 4})


class TestHeirs:
    def test_what_its_base_derives_follows(self, write):
        cfg = load_config(write('num_codes = 32\n'))
        assert codes(cfg) == (32, 32, 32)
        assert Config.fromfile(write('num_codes = 32\n')).model.head.num_codes == 1024

    def test_what_it_sets_itself_stays(self, write):
        cfg = load_config(write('num_codes = 32\nmodel = dict(head=dict(num_codes=1024))\n'))
        assert codes(cfg) == (32, 1024, 32)

    def test_it_computes_with_its_bases_value(self, write):
        assert codes(load_config(write('num_codes = _base_.num_codes * 2\n'))) == (2048,) * 3

    def test_through_a_file_between(self, write):
        write('width = _base_.num_codes * 2\nmodel = dict(width=width)\n', name='between.py')
        cfg = load_config(write('num_codes = 32\n', base=['between.py']))
        assert codes(cfg) == (32, 32, 32)
        assert (cfg.width, cfg.model.width) == (64, 64)

    def test_its_own_variables_follow_one_another(self, write):
        write('num_codes = 8\nwidth = num_codes * 2\nmodel = dict(w=width)\n', name='between.py')
        heir = 'num_codes = 32\nmodel = dict(last=_base_.num_codes)\n'
        cfg = load_config(write(heir, base='between.py'))
        assert codes(cfg) == (32, 32, 32)
        assert (cfg.model.w, cfg.model.last) == (64, 8)

    def test_a_list_is_extended_once(self, write):
        cfg = load_config(
            write(
                'pipeline = _base_.pipeline\npipeline += [dict(type="Flip")]\n'
                'train_dataloader = dict(dataset=dict(pipeline=pipeline))\n'
                'val_dataloader = dict(dataset=dict(pipeline=_base_.pipeline[:2]))\n'
            )
        )
        assert [t.type for t in cfg.train_dataloader.dataset.pipeline] == ['Crop', 'Pack', 'Flip']

    def test_a_list_that_reaches_no_part_is_refused(self, write):
        with pytest.raises(ValueError, match=r'train_dataloader\.dataset\.pipeline keeps the val'):
            load_config(write("pipeline = [dict(type='Pack')]\n"))

    def test_a_part_that_reaches_no_other_is_refused(self, write):
        write('mask = dict(n=1, m=2)\nmodel = dict(mask=mask)\n', name='between.py')
        with pytest.raises(ValueError, match=r'sets mask, but model\.mask keeps the value'):
            load_config(write('mask = dict(n=3)\n', base='between.py'))

    def test_a_name_that_nothing_reads_is_said(self, write, monkeypatch):
        said = []
        monkeypatch.setattr(config_keys, 'print_log', lambda text, **_: said.append(text))
        load_config(write('batch_size = 7\n'))
        assert 'sets batch_size=7, which nothing reads: set train_dataloader.batch_size' in said[0]

    def test_over_a_dumped_config_it_is_refused(self, write, tmp_path):
        load_config(tmp_path / write('').name).dump(tmp_path / 'dump.py')
        with pytest.raises(ValueError, match=r'model\.head\.num_codes keeps the value'):
            load_config(write('num_codes = 3\n', base='dump.py'))

    def test_a_name_of_another_kind_is_refused(self, write):
        with pytest.raises(ValueError, match=r'a pipeline of another kind.*call it otherwise'):
            load_config(write('pipeline = 3\n'))

    def test_a_name_that_breaks_the_base_is_refused(self, write):
        with pytest.raises(ValueError, match=r"num_codes='x': .*base.py:3: TypeError.*otherwise"):
            load_config(write("num_codes = 'x'\n"))

    @pytest.mark.parametrize('name', ['a.yaml', 'a.json'])
    def test_it_may_be_yaml_or_json(self, write, tmp_path, name):
        path = tmp_path / name
        path.write_text(json.dumps({'_base_': write('').name, 'num_codes': 32}))
        cfg = load_config(path)
        assert codes(cfg) == (32, 32, 32)
        assert cfg.filename == str(path)

    def test_a_config_that_imports_its_parts_is_read_as_it_is(self, tmp_path):
        (tmp_path / 'b.py').write_text('rate = 3\nmodel = dict(rate=rate)\n')
        path = tmp_path / 'a.py'
        path.write_text(
            'from mmengine.config import read_base\nfrom torch.optim import AdamW\n'
            'with read_base():\n    from .b import *\noptim_wrapper = dict(type=AdamW)\n'
        )
        cfg = load_config(path)
        assert (cfg.model.rate, cfg.optim_wrapper.type) == (3, AdamW)
        with pytest.raises(ValueError, match=r'rate=4 would change nothing.*model\.rate'):
            load_config(path, {'rate': 4})

    def test_yaml_reads_the_environment_and_its_own_name(self, tmp_path, monkeypatch):
        monkeypatch.setenv('FOLDER', 'my/data')
        path = tmp_path / 'a.yaml'
        path.write_text(
            "root: '{{$FOLDER:x}}/train'\nnumber: {{$NUMBER_:7}}\nname: {{ fileBasename }}\n"
            "folder: '{{ fileDirname }}'\n"
        )
        cfg = load_config(path)
        assert (cfg.root, cfg.number, cfg.name) == ('my/data/train', 7, 'a.yaml')
        assert cfg.folder == str(tmp_path)

    def test_a_dumped_yaml_is_read_again(self, write, tmp_path):
        cfg = load_config(write("model = dict(betas=(0.9, 0.98), name='x')\n"))
        cfg.dump(tmp_path / 'dump.yaml')
        assert list(load_config(tmp_path / 'dump.yaml').model.betas) == [0.9, 0.98]

    def test_a_base_in_yaml_and_json_is_inherited(self, write, tmp_path):
        (tmp_path / 'a.yaml').write_text('_base_: base.py\nseen: {{_base_.num_codes}}\nb: [1, a]\n')
        (tmp_path / 'b.json').write_text(json.dumps({'_base_': ['a.yaml'], 'model': {'c': 2}}))
        cfg = load_config(write('', base='b.json'))
        assert (cfg.seen, cfg.b, cfg.model.c, cfg.model.head.num_codes) == (1024, [1, 'a'], 2, 1024)


FILES = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.rglob('*.py'))
# The last part of the keys that one quantity has.
SAME = {
    'image_size': ('image_size', 'img_size', 'size'),
    'crop_size': ('crop_size', 'img_size'),
    'max_epochs': ('max_epochs',),
    'num_codes': ('num_codes',),
    'data_root': ('data_root',),
    'lr': ('lr',),
    'max_iters': ('max_iters',),
    'num_classes': ('num_classes',),
}


def other(name, value):
    """Another value that fits wherever the one of our configs does."""
    if isinstance(value, str):
        return f'{value}x'
    if isinstance(value, tuple):
        return tuple(2 * v for v in value)
    return value * 2


def parameter(file):
    often = (
        'demo/',
        'example/',
        'own_data/',
        'vqkd/',
        'beitv2_vit-b16_300e.py',
        'finetune/beitv2_vit-b16_in21k',
    )
    seldom = not file.startswith(often) and 'upernet_beitv2-b16_1600e' not in file
    return pytest.param(file, marks=[pytest.mark.slow] if seldom else [])


@pytest.mark.parametrize('file', [parameter(f) for f in FILES if not f.startswith('_base_')])
def test_no_variable_of_our_configs_is_without_effect(file):
    plain = load_config(CONFIGS / file)
    assert plain.to_dict() == Config.fromfile(CONFIGS / file).to_dict()
    for name, value in plain.items():
        if name in KNOWN_KEYS or value is None or not is_plain(value) or name.endswith('type'):
            continue
        try:
            cfg = load_config(CONFIGS / file, {name: other(name, value)})
        except ValueError as error:
            if not re.search('would change nothing.*: set ', str(error)):
                raise
            continue
        for key, found in leaves(cfg):
            # A teacher may see the photos at a size of its own.
            if key != 'model.teacher.image_size' and key.split('.')[-1] in SAME.get(name, ()):
                assert found in (other(name, value), (other(name, value),) * 2), key


def leaves(cfg):
    """The values that a run reads."""
    read = KNOWN_KEYS - ({'data_preprocessor'} if 'data_preprocessor' in cfg.model else set())
    return [(k, v) for k, v in dotted_keys(cfg) if k.split('.')[0] in read and '.' in k]


def test_a_config_that_was_written_out_serves_as_a_base(tmp_path):
    load_config('mmbeitv2::beitv2_vit-b16_300e.py').dump(tmp_path / 'written.py')
    (tmp_path / 'heir.py').write_text("_base_ = 'written.py'\ntrain_cfg = dict(max_epochs=20)\n")
    assert load_config(tmp_path / 'heir.py').train_cfg.max_epochs == 20

"""A faulty config or command line is one line that names the key, before anything is built."""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmbeitv2.errors import UserError
from mmbeitv2.launch import config_values
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.config_parts import check_parts
from mmbeitv2.launch.launchers import VARIABLES
from mmbeitv2.launch.runner import add_common_arguments, set_environment

TOOLS = Path(__file__).parents[2] / 'tools'
CONFIG = """
default_scope = 'mmpretrain'
image_size = 32
tokenizer_checkpoint = 'tokenizer.pth'
model = dict(
    type='mmbeitv2.BEiTV2',
    backbone=dict(type='mmbeitv2.BEiTViT', arch='base', img_size=image_size),
    neck=dict(
        type='mmbeitv2.PatchAggregationNeck', embed_dim=32, num_heads=2, layer=1, depth=1),
    head=dict(type='mmbeitv2.MIMHead', embed_dim=32, num_codes=16),
    target_generator=dict(
        type='mmbeitv2.VQKDTokenizer',
        encoder=dict(img_size=image_size),
        quantizer=dict(num_codes=16, code_dim=8),
        init_cfg=dict(type='Pretrained', checkpoint=tokenizer_checkpoint)))
data_preprocessor = dict(type='mmbeitv2.BEiTV2DataPreprocessor', image_size=image_size)
train_dataloader = dict(
    batch_size=4,
    num_workers=0,
    sampler=dict(type='mmbeitv2.EpochSampler', shuffle=True),
    dataset=dict(
        type='CustomDataset', data_root='data', with_label=False,
        pipeline=[
            dict(type='mmbeitv2.LoadCenterCrop', size=image_size, interpolation='bicubic'),
            dict(type='PackInputs')]))
val_dataloader = train_dataloader
val_cfg = dict(type='mmbeitv2.ValLoop')
val_evaluator = dict(type='mmbeitv2.MaskedCodeMetric')
train_cfg = dict(by_epoch=True, max_epochs=4, val_interval=1)
optim_wrapper = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, betas=(0.9, 0.98)),
    clip_grad=dict(max_norm=3.0))
param_scheduler = [
    dict(type='LinearLR', start_factor=0.1, end=1, convert_to_iter_based=True),
    dict(type='CosineAnnealingLR', eta_min=1e-5, begin=1, end=4, convert_to_iter_based=True)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=10), checkpoint=dict(type='CheckpointHook'))
randomness = dict(seed=0)
visualizer = dict(type='UniversalVisualizer', vis_backends=[dict(type='LocalVisBackend')])
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(CONFIG)
    return path


def parse(*words):
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    return parser.parse_args(words)


def check(path, *pairs):
    cfg = load_config(path, parse('--cfg-options', *pairs).cfg_options if pairs else None)
    phases = ('train', 'val')
    config_values.check_values(cfg, phases)
    check_parts(cfg, phases)
    return cfg


def refused(path, *pairs, said):
    with pytest.raises(UserError) as caught:
        check(path, *pairs)
    assert '\n' not in str(caught.value)
    assert re.search(said, str(caught.value)), str(caught.value)


def test_the_config_itself_is_accepted(config):
    assert check(config, 'image_size=64').model.target_generator.encoder.img_size == 64


# The option, and what the line must say: a key that works, or what is allowed.
OPTIONS = [
    ('optim_wraper.optimizer.lr=1', 'did you mean optim_wrapper'),
    ('tokeniser_checkpoint=x', 'did you mean tokenizer_checkpoint'),
    ('img_size=64', 'model.backbone.img_size|did you mean image_size'),
    ('num_codes=8', 'model.head.num_codes, model.target_generator.quantizer.num_codes'),
    ('max_epochs=8', 'set train_cfg.max_epochs'),
    ('batch_size=8', 'set train_dataloader.batch_size, val_dataloader.batch_size'),
    ('lr=1', 'set optim_wrapper.optimizer.lr'),
    ('nothing_like_it=3', 'has no nothing_like_it'),
    ('train_cfg.max_epoch=3', 'did you mean max_epochs'),
    ('optim_wrapper.optimiser=3', 'did you mean optimizer'),
    ('optim_wrapper.optimizer.learning_rate=3', 'AdamW takes no learning_rate'),
    ('train_dataloader.batchsize=3', 'did you mean batch_size'),
    ('val_dataloader.shufle=True', 'did you mean shuffle'),
    ('model.backbone.image_size=3', 'did you mean img_size'),
    ('data_preprocessor.img_size=3', 'did you mean image_size'),
    ('train_cfg=3', 'train_cfg is 3, allowed: dict'),
    ('env_cfg.dist_cfg=3', 'dist_cfg is 3'),
    ('env_cfg.mp_cfg.mp_start_method=forkk', 'fork, forkserver or spawn'),
    ('log_processor.by_epok=3', 'did you mean by_epoch'),
    ('custom_imports.imports=x', 'comes too late'),
    ('launcher=pytorch', 'give --launcher'),
    ('runner_type=Runer', 'did you mean Runner'),
    ('model.backbone.arch.depth=3', "arch is 'base', which has no depth"),
    ('model.target_generator.encoder.dept=3', 'did you mean depth'),
    ('model.target_generator.quantizer.codes=3', 'did you mean num_codes'),
    ('train_dataloader.collate_fn.type=defolt', 'no registered function'),
    ('model.type=3', 'model.type is 3'),
    ('model.neck.layers=3', 'did you mean layer'),
    ('model.bacbone.depth=3', 'did you mean backbone'),
    ('train_dataloader.sampler.suffle=1', 'did you mean shuffle'),
    ('train_dataloader.dataset.pipeline.0.sizes=1', 'did you mean size'),
    ('param_scheduler.1.eta_minimum=0', 'did you mean eta_min'),
    ('default_hooks.logger.intervall=1', 'did you mean interval'),
    ('default_hooks.loger.interval=1', 'default_hooks.loger names no type'),
    ('randomness.sead=1', 'did you mean seed'),
    ('env_cfg.cudnn_bench=1', 'did you mean cudnn_benchmark'),
    ('model..x=1', 'a part of the key is empty'),
    ('param_scheduler.7.end=1', r'allowed after it: 0 to 1'),
    ('param_scheduler.-1.end=1', r'allowed after it: 0 to 1'),
    ('param_scheduler.end=1', r'allowed after it: 0 to 1'),
    ('param_scheduler.0=1', 'give the whole list'),
    ('train_cfg.max_epochs.x=1', 'train_cfg.max_epochs is 4, which has no x'),
    ('train_cfg.max_epochs=0', 'is 0, allowed: a whole number from 1 on'),
    ('train_cfg.max_epochs=-1', 'is -1, allowed'),
    ('train_cfg.max_epochs=a', "is 'a', allowed"),
    ('train_cfg.max_epochs=1.5', 'is 1.5, allowed'),
    ('train_cfg.max_epochs=True', 'is True, allowed'),
    ('train_cfg.val_interval=0', 'train_cfg.val_interval is 0'),
    ('train_cfg.by_epoch=False', 'max_iters'),
    ('train_cfg.type=EpochBasedTrainLoop', 'one of by_epoch and type'),
    ('train_dataloader.batch_size=0', 'batch_size is 0'),
    ('train_dataloader.batch_size=None', 'batch_size is None'),
    ('train_dataloader.num_workers=x', "num_workers is 'x'"),
    ('train_dataloader.num_workers=-1', 'num_workers is -1'),
    ('train_dataloader.pin_memory=yes', 'allowed: True or False'),
    ('train_dataloader.dataset.data_root=3', 'data_root is 3'),
    ('optim_wrapper.optimizer.lr=abc', "lr is 'abc'"),
    ('optim_wrapper.optimizer.lr=-1', 'lr is -1'),
    ('optim_wrapper.optimizer.lr=nan', 'lr is nan'),
    ('optim_wrapper.optimizer.betas=(0.9,1.5)', r'betas is \(0.9, 1.5\)'),
    ('optim_wrapper.optimizer.weight_decay=-0.1', 'weight_decay is -0.1'),
    ('optim_wrapper.clip_grad.max_norm=0', 'max_norm is 0'),
    ('optim_wrapper.accumulative_counts=0', 'accumulative_counts is 0'),
    ('param_scheduler.0.end=0', 'end is 0'),
    ('param_scheduler.1.begin=9', 'end is 4, allowed: more than its begin, 9'),
    ('default_hooks.checkpoint.interval=0', '1 or more, or -1'),
    ('randomness.seed=x', "seed is 'x'"),
    ('load_from=', 'load_from is'),
    ('work_dir=s3://bucket/run', 'a folder of this machine'),
    ('tokenizer_checkpoint=', 'tokenizer_checkpoint is'),
    ('log_level=LOUD', 'log_level is'),
    ('model=3', r'model is 3, allowed: dict'),
    ('model=None', 'has no model'),
    ('train_dataloader=3', 'train_dataloader is 3'),
    ('train_dataloader=None', 'has no train_dataloader'),
    ('val_evaluator=None', 'has no val_evaluator, but val_dataloader, val_cfg'),
    ('model.type=mmbeitv2.BEiTV3', "BEiTV3', which is no registered model: did you mean .*BEiTV2"),
    ('model.backbone.type=mmbeitv2.BEiTVit', r'did you mean mmbeitv2\.BEiTViT'),
    ('model.backbone.type=', 'model.backbone names no type'),
    ('model.backbone=resnet', 'model.backbone is .resnet., allowed: dict'),
    ('train_dataloader.dataset.type=CustomData', 'did you mean CustomDataset'),
    ('train_dataloader.dataset.pipeline.1.type=PackInput', 'did you mean PackInputs'),
    ('optim_wrapper.optimizer.type=AdamWW', 'did you mean AdamW'),
    ('optim_wrapper.constructor=LayerDecay', 'is no registered optimizer wrapper constructor'),
    ('param_scheduler.0.type=LinearRL', 'did you mean LinearLR'),
    ('default_hooks.logger.type=LogerHook', 'did you mean LoggerHook'),
    ('val_evaluator.type=Acuracy', 'did you mean Accuracy'),
]


@pytest.mark.parametrize(('option', 'said'), OPTIONS, ids=[option for option, _ in OPTIONS])
def test_an_option_is_refused(config, option, said):
    refused(config, option, said=said)


@pytest.mark.parametrize('pair', ['a', '=3', ' =3', 'x=[1,2', 'x=(1'])
def test_an_option_that_is_no_pair_ends_the_tool_with_one_line(capsys, pair):
    with pytest.raises(SystemExit) as ended:
        parse('--cfg-options', pair)
    assert ended.value.code == 2
    assert f'--cfg-options {pair!r}: ' in capsys.readouterr().err.splitlines()[-1]


def test_a_folders_spaces_are_kept():
    assert parse('--cfg-options', 'data_root=/my photos/a').cfg_options == {
        'data_root': '/my photos/a'
    }


# Lines added to the config.
LINES = [
    ('optim_wraper = dict()', 'did you mean optim_wrapper'),
    ('train_dataloder = dict()', 'did you mean train_dataloader'),
    ("tokeniser_checkpoint = 'x'", 'did you mean tokenizer_checkpoint'),
    ('lr_config = dict()', 'set param_scheduler'),
    ('optimizer = dict(lr=1)', r'set optim_wrapper\.optimizer'),
    ('x = (', r'config\.py:\d+: the config has a fault'),
    ('x = unknown_name', r'config\.py:\d+: NameError'),
    ("x = model['nothing']", r'config\.py:\d+: KeyError'),
    ('x = 1 / 0', r'config\.py:\d+: ZeroDivisionError'),
    ('model = []', 'model is'),
    ('default_hooks = []', 'default_hooks is'),
    ('custom_hooks = [None]', 'custom_hooks.0 is None'),
    ("param_scheduler[0] = dict(type='MultiStepLR')", 'MultiStepLR needs milestones'),
    ('custom_hooks = [3]', 'custom_hooks.0 is 3'),
    ("custom_hooks = [dict(type='')]", 'custom_hooks.0 names no type'),
    ("custom_hooks = [dict(type='EMAHok')]", 'did you mean .*EMAHook'),
    ('custom_hooks = [dict(momentum=1)]', 'custom_hooks.0 names no type'),
    ('param_scheduler = 3', 'param_scheduler is 3|param_scheduler.*allowed'),
    ("optim_wrapper['clip_grad'] = dict()", 'lacks max_norm'),
    ("optim_wrapper['clip_grad'] = dict(type='value')", 'lacks clip_value'),
    ("optim_wrapper['clip_grad'] = 3", 'clip_grad is 3'),
    ("optim_wrapper.pop('optimizer')", 'optim_wrapper has no optimizer'),
    ("train_dataloader.pop('dataset')", 'train_dataloader has no dataset'),
    ("train_dataloader.pop('sampler')", 'train_dataloader has no sampler'),
    ("train_dataloader['dataset'].pop('type')", 'train_dataloader.dataset names no type'),
    ("train_dataloader['dataset']['pipeline'] = 3", 'pipeline is 3'),
    ("train_dataloader['dataset']['pipeline'][0].pop('size')", 'LoadCenterCrop needs size'),
    ("train_cfg.pop('max_epochs')", 'EpochBasedTrainLoop needs max_epochs'),
    ("train_cfg.pop('by_epoch')", 'one of by_epoch and type'),
    ("_base_ = 'config.py'", 'inherits itself: .*config.py → .*config.py'),
    ("_base_ = 'nothing.py'", "inherits 'nothing.py', but there is no"),
    ("_base_ = 'mmbeitv2::nothing.py'", 'mmbeitv2 has no config'),
    ('_base_ = [3]', 'names 3, which is no file'),
    ("_base_ = ''", "names '', which is no file"),
    ('_base_ = nothing', '_base_ is faulty'),
    ('_base_ = 3', '_base_ is 3'),
]


@pytest.mark.parametrize(('line', 'said'), LINES, ids=[line for line, _ in LINES])
def test_a_line_of_the_config_is_refused(config, line, said):
    config.write_text(f'{CONFIG}\n{line}\n')
    refused(config, said=said)


FILES = [
    ('empty.py', b'', 'is empty'),
    ('empty.yaml', b' \n', 'is empty'),
    ('photo.py', b'\xff\xd8\xff\xe0\x00\x10JFIF', 'no text in UTF-8'),
    ('photo.jpg', b'\xff\xd8\xff\xe0\x00\x10JFIF', r"ends in '\.jpg', allowed: \.py"),
    ('zero.py', b'a = 1\x00', 'null bytes'),
    ('list.json', b'[1, 2]', 'holds list'),
    ('fault.json', b'{"a": 1,}', 'is no JSON'),
    ('fault.yaml', b'a: [1', 'is no plain YAML'),
    ('text.yaml', b'hello', 'holds str'),
    ('keys.yaml', b'a: {1: 2}', 'has the key 1'),
    ('itself.yaml', b'a: &a [*a]', 'is no plain YAML'),
    ('deep.json', b'[' * 100000, 'is no JSON'),
    ('date.yaml', b'a: 2020-01-01', 'is no plain YAML'),
    ('circle.json', b'{"_base_": "circle.json"}', 'inherits itself'),
    ('missing.yaml', b'_base_: nothing.yaml', 'there is no'),
]


@pytest.mark.parametrize(('name', 'content', 'said'), FILES, ids=[name for name, *_ in FILES])
def test_a_file_is_refused(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    refused(tmp_path / name, said=said)


@pytest.mark.parametrize(
    ('name', 'said'),
    [
        ('', 'name is empty'),
        ('s3://bucket/config.py', 'is an address'),
        ('https://example.com/config.py', 'is an address'),
        ('nothing.py', 'no config file'),
        ('.', 'is a folder'),
        ('/dev/null', 'is no regular file'),
        ('mmbeitv2::', 'has no config'),
    ],
)
def test_a_name_is_refused(name, said):
    refused(name, said=said)


@pytest.mark.skipif(os.name != 'posix' or os.geteuid() == 0, reason='root reads every file')
def test_an_unreadable_file_is_refused(config):
    config.chmod(0)
    refused(config, said='cannot be read')


def test_two_files_that_inherit_one_another_are_refused(tmp_path):
    (tmp_path / 'a.py').write_text("_base_ = 'b.py'\n")
    (tmp_path / 'b.py').write_text("_base_ = ['a.py']\n")
    refused(tmp_path / 'a.py', said=r'inherits itself: .*a\.py → .*b\.py → .*a\.py')


TAGS = [
    '!!python/object/apply:os.mkdir ["{target}"]',
    '!<tag:yaml.org,2002:python/object/apply:os.mkdir> ["{target}"]',
    '{{{{ !!python/object/apply:os.mkdir ["{target}"] : 1 }}}}',
    '!!python/object/new:os.mkdir ["{target}"]',
    '!!python/name:os.mkdir',
]


@pytest.mark.parametrize('tag', TAGS)
@pytest.mark.parametrize('inherited', [False, True])
def test_yaml_runs_nothing(tmp_path, tag, inherited):
    target = tmp_path / 'made'
    (tmp_path / 'a.yaml').write_text(f'a: {tag.format(target=target)}\n')
    (tmp_path / 'heir.py').write_text("_base_ = 'a.yaml'\n")
    refused(tmp_path / ('heir.py' if inherited else 'a.yaml'), said='')
    assert not target.exists()


def test_a_schedule_that_the_run_cuts_off_is_a_warning(config, monkeypatch):
    said = []
    monkeypatch.setattr(config_values, 'print_log', lambda text, **_: said.append(text))
    check(config, 'train_cfg.max_epochs=2')
    assert 'param_scheduler.1.end is 4, but train_cfg.max_epochs 2' in said[0]


class TestCommandLine:
    @pytest.mark.parametrize(
        ('words', 'said'),
        [
            (('--work-dir', ''), '--work-dir is empty'),
            (('--work-dir', 's3://bucket'), 'a folder of this machine'),
            (('--launcher', 'pytorch'), 'needs RANK, which is not set'),
            (('--launcher', 'slurm'), 'needs SLURM_PROCID'),
            (('--launcher', 'mpi'), 'needs OMPI_COMM_WORLD_RANK'),
        ],
    )
    def test_is_refused(self, config, monkeypatch, words, said):
        for launcher in VARIABLES.values():
            for name in (*launcher[:3], *launcher.others):
                monkeypatch.delenv(name, raising=False)
        args = parse(*words)
        args.config = str(config)
        monkeypatch.setenv('LOCAL_RANK', '0')
        with pytest.raises(UserError, match=said):
            set_environment(load_config(config), args)

    @pytest.mark.parametrize(
        ('changed', 'said'),
        [
            ({'RANK': 'x'}, "RANK is 'x', allowed: a whole number from 0 on"),
            ({'RANK': '2'}, 'RANK is 2, allowed: below WORLD_SIZE, 2'),
            ({'WORLD_SIZE': '0'}, "WORLD_SIZE is '0', allowed"),
            ({'MASTER_ADDR': ''}, 'needs MASTER_ADDR, which is not set: the address'),
        ],
    )
    def test_a_launchers_variable_is_refused(self, config, monkeypatch, changed, said):
        known = {'RANK': '0', 'WORLD_SIZE': '2', 'LOCAL_RANK': '0', 'MASTER_ADDR': 'localhost'}
        for name, value in {**known, 'MASTER_PORT': '29500', **changed}.items():
            monkeypatch.setenv(name, value)
        args = parse('--launcher', 'pytorch')
        args.config = str(config)
        with pytest.raises(UserError, match=said):
            set_environment(load_config(config), args)

    def test_slurm_without_its_command_is_refused(self, config, monkeypatch, tmp_path):
        for name in (*VARIABLES['slurm'][:3], *VARIABLES['slurm'].others):
            monkeypatch.setenv(name, '1' if name == 'SLURM_NTASKS' else '0')
        monkeypatch.setenv('PATH', str(tmp_path))
        args = parse('--launcher', 'slurm')
        args.config = str(config)
        with pytest.raises(UserError, match=r'`scontrol`.*not on the PATH'):
            set_environment(load_config(config), args)


@pytest.mark.slow
class TestTools:
    """Each in a process of its own, side by side, as a shell would see it."""

    CALLS = (
        ('train.py', 'nothing.py'),
        ('test.py', 'nothing.py', 'x.pth'),
        ('train.py', 'demo', '--cfg-options', 'optim_wraper.x=1'),
        ('check_segmentation_data.py', 'nothing.py'),
        ('convert_checkpoint.py', 'nothing.pth', 'x.pth', '--to', 'mmpretrain'),
        ('prepare_images.py', 'nothing', 'out'),
        ('list_experiments.py', '--update', 'page.md'),
        ('make_demo_data.py', '--out', 'out', '--assets', 'nothing'),
        ('quickstart_report.py', '--work-dir', 'nothing'),
    )

    def test_end_with_one_line_and_exit_code_2(self, tmp_path, config):
        (tmp_path / 'page.md').write_text('no place\n')
        running = []
        for tool, *words in self.CALLS:
            words = [str(config) if word == 'demo' else word for word in words]
            command = [sys.executable, '-W', 'ignore', str(TOOLS / tool), *words]
            process = subprocess.Popen(
                command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            running.append((tool, process))
        for tool, process in running:
            _, said = process.communicate(timeout=300)
            assert process.returncode == 2, (tool, said)
            assert 'Traceback' not in said
            assert 'error: ' in said.splitlines()[-1], (tool, said)

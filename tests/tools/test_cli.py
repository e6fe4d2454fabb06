"""The command-line tools, run as a user runs them."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

import mmbeitv2

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]
SCRIPTS = sorted((ROOT / 'tools').glob('*.sh')) + [ROOT / '.ci' / 'run']

CONFIG = """
default_scope = 'mmpretrain'
pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=32), dict(type='PackInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0,
    dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=True))
test_dataloader = dict(
    batch_size=2, num_workers=0,
    dataset=dict(type='CustomDataset', data_root={data!r}, pipeline=pipeline),
    sampler=dict(type='DefaultSampler', shuffle=False))
model = dict(
    type='ImageClassifier',
    data_preprocessor=dict(num_classes=2, mean=[127.5] * 3, std=[127.5] * 3),
    backbone=dict(
        type='VisionTransformer', img_size=32, patch_size=16,
        arch=dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)),
    head=dict(type='LinearClsHead', num_classes=2, in_channels=16))
optim_wrapper = dict(optimizer=dict(type='AdamW', lr=1e-3))
train_cfg = dict(type='IterBasedTrainLoop', max_iters=2)
test_cfg = dict()
test_evaluator = dict(type='Accuracy')
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1),
    checkpoint=dict(type='CheckpointHook', interval=1, by_epoch=False))
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""


def run(*command: object, cwd: Path) -> subprocess.CompletedProcess:
    """Run a tool from another folder, as an installed or checked-out package allows."""
    environment = {
        **os.environ,
        'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
        'PYTHONPATH': str(ROOT),
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
    }
    return subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A folder with a tiny config and eight images, on which two CPU processes have trained."""
    folder = tmp_path_factory.mktemp('project')
    generator = np.random.default_rng(0)
    for index in range(8):
        path = folder / 'data' / 'ab'[index % 2] / f'{index}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path)
    (folder / 'tiny.py').write_text(CONFIG.format(data=str(folder / 'data')))
    result = run('bash', ROOT / 'tools' / 'dist_train.sh', 'tiny.py', 2, cwd=folder)
    assert result.returncode == 0, result.stdout
    (folder / 'training.log').write_text(result.stdout)
    return folder


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda path: path.name)
def test_shell_script_parses(script):
    assert subprocess.run(['bash', '-n', script], check=False).returncode == 0


def test_two_cpu_processes_train_with_gloo(project):
    log = (project / 'training.log').read_text()
    assert 'gloo instead of nccl' in log
    assert 'Iter(train) [2/2]' in log
    assert 'total batch 4 = 2 processes × 2 images × 1 steps' in log
    assert (project / 'work_dirs' / 'tiny' / 'iter_2.pth').is_file()


@pytest.fixture(scope='module')
def resumed_log(project):
    result = run(
        *(sys.executable, ROOT / 'tools' / 'train.py', 'tiny.py', '--resume'),
        *('--cfg-options', 'train_cfg.max_iters=3'),
        cwd=project,
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_resume_continues_at_the_same_iteration(resumed_log):
    assert 'resumed epoch: 0, iter: 2' in resumed_log
    assert 'Iter(train) [3/3]' in resumed_log
    assert 'Iter(train) [1/3]' not in resumed_log


@pytest.mark.needs_torch('2.6', 'reading by mmengine without code')
def test_resume_unpickles_no_code(resumed_log):
    # What mmengine prints before it unpickles arbitrary code.
    assert 'weights_only=False' not in resumed_log


@pytest.mark.needs_torch('2.7', 'sharding')
def test_sharded_run_resumes_an_unsharded_one_and_is_evaluated(project):
    sharded = [
        'runner_type=FlexibleRunner',
        'strategy.type=mmbeitv2.ShardedStrategy',
        'env_cfg.cudnn_benchmark=False',  # mmengine's FlexibleRunner wants the key
    ]
    trained = run(
        *('bash', ROOT / 'tools' / 'dist_train.sh', 'tiny.py', 2, '--work-dir', 'sharded'),
        *('--resume', 'work_dirs/tiny/iter_2.pth'),
        *('--cfg-options', 'train_cfg.max_iters=3', *sharded),
        cwd=project,
    )
    assert trained.returncode == 0, trained.stdout
    assert 'resumed epoch: 0, iter: 2' in trained.stdout
    evaluated = run(
        *(sys.executable, ROOT / 'tools' / 'test.py', 'tiny.py', 'sharded/iter_3.pth'),
        *('--cfg-options', *sharded),
        cwd=project,
    )
    assert evaluated.returncode == 0, evaluated.stdout
    assert 'accuracy/top1' in evaluated.stdout


def test_test_evaluates_a_checkpoint_and_writes_predictions(project):
    result = run(
        *(sys.executable, ROOT / 'tools' / 'test.py', 'tiny.py', 'work_dirs/tiny/iter_2.pth'),
        *('--out', 'predictions.pkl'),
        cwd=project,
    )
    assert result.returncode == 0, result.stdout
    assert 'accuracy/top1' in result.stdout
    assert (project / 'predictions.pkl').stat().st_size > 0


def test_saved_checkpoint_holds_the_iteration(project):
    from mmengine.runner.checkpoint import _load_checkpoint

    checkpoint = _load_checkpoint(str(project / 'work_dirs' / 'tiny' / 'iter_2.pth'), 'cpu')
    assert checkpoint['meta']['iter'] == 2
    assert all(torch.is_tensor(value) for value in checkpoint['state_dict'].values())


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['nothing.py'], "no config file 'nothing.py'"),
        (
            ['tiny.py', '--cfg-options', 'train_dataloader.dataset.data_root=nowhere'],
            "data_root of CustomDataset is 'nowhere'",
        ),
        (['tiny.py', '--resume', 'nowhere.pth'], "the checkpoint 'nowhere.pth'"),
        (['tiny.py', '--auto-scale-lr'], 'set auto_scale_lr = dict(base_batch_size=...)'),
    ],
    ids=['config', 'data', 'checkpoint', 'batch'],
)
def test_train_exits_with_what_is_wrong(project, monkeypatch, capsys, arguments, message):
    monkeypatch.chdir(project)
    monkeypatch.setattr(sys, 'argv', ['train.py', *arguments])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
    assert end.value.code == 2
    printed = capsys.readouterr().err
    assert printed.startswith('error: ')
    assert message in printed


def test_train_ends_with_the_message_alone(tmp_path):
    result = run(sys.executable, ROOT / 'tools' / 'train.py', 'nothing.py', cwd=tmp_path)
    assert result.returncode == 2
    assert "error: no config file 'nothing.py'" in result.stdout
    assert 'Traceback' not in result.stdout


class TestPrecision:
    OURS = 'mmbeitv2.MixedPrecisionOptimWrapper'

    @pytest.fixture
    def config(self):
        """What the training tool's options make of a config."""
        tool = runpy.run_path(str(ROOT / 'tools' / 'train.py'))

        def apply(*options, **wrapper):
            cfg = Config(
                dict(
                    optim_wrapper=dict(type='OptimWrapper') | wrapper,
                    val_cfg=dict(fp16=True),
                    test_cfg=dict(type='TestLoop'),
                )
            )
            tool['apply_arguments'](cfg, tool['parse_args'](['tiny.py', *options]))
            return cfg

        return apply

    @pytest.mark.parametrize('kind', ['OptimWrapper', 'AmpOptimWrapper', OURS])
    def test_option_decides_for_training_and_evaluation(self, config, kind):
        cfg = config('--precision', 'float32', type=kind, clip_grad=dict(max_norm=3.0))
        assert cfg.optim_wrapper == dict(
            type=self.OURS, precision='float32', clip_grad=dict(max_norm=3.0)
        )
        assert cfg.val_cfg == dict(type='mmbeitv2.ValLoop', precision='float32')
        assert cfg.test_cfg == dict(type='mmbeitv2.TestLoop', precision='float32')

    def test_without_it_the_config_decides(self, config):
        assert config().optim_wrapper == dict(type='OptimWrapper')

    @pytest.mark.parametrize(
        ('instructions', 'expected'), [(['amx_bf16'], 'auto'), ([], 'bfloat16')]
    )
    def test_amp_is_mixed_precision_on_every_cpu(self, config, monkeypatch, instructions, expected):
        features = dict.fromkeys(instructions, True)
        monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda: features, raising=False)
        assert config('--amp').optim_wrapper == dict(type=self.OURS, precision=expected)

    def test_amp_obeys_the_configs_type(self, config):
        found = config('--amp', dtype='float16').optim_wrapper
        assert found == dict(type=self.OURS, precision='float16')

    def test_other_wrappers_are_not_replaced_unasked(self, config):
        with pytest.raises(ValueError, match=r'optim_wrapper\.type=ApexOptimWrapper'):
            config('--precision', 'auto', type='ApexOptimWrapper')

    @pytest.mark.parametrize(
        ('arguments', 'key'),
        [
            ('train.py tiny.py --precision float16', 'optim_wrapper'),
            ('train.py tiny.py --amp --cfg-options optim_wrapper.dtype=float16', 'optim_wrapper'),
            (
                'train.py tiny.py --cfg-options optim_wrapper.precision=float16 '
                f'optim_wrapper.type={OURS}',
                'optim_wrapper',
            ),
            ('test.py tiny.py work_dirs/tiny/iter_2.pth --precision float16', 'test_cfg'),
        ],
    )
    def test_float16_without_a_gpu_is_one_line(self, project, monkeypatch, capsys, arguments, key):
        monkeypatch.chdir(project)
        monkeypatch.setattr(sys, 'argv', arguments.split())
        with pytest.raises(SystemExit, match='2'):
            runpy.run_path(str(ROOT / 'tools' / sys.argv[0]), run_name='__main__')
        message = f'error: {key}.precision is float16, which needs a GPU; this CPU'
        assert message in capsys.readouterr().err

    @pytest.mark.slow
    def test_mmpretrains_own_tools_obey_the_configs_key(self, project):
        import mmpretrain

        tools = Path(mmpretrain.__file__).parent / '.mim' / 'tools'
        options = (f'optim_wrapper.type={self.OURS}', 'optim_wrapper.precision=bfloat16')
        options = ('--cfg-options', *options, 'test_cfg.type=mmbeitv2.TestLoop')
        folder = ('--work-dir', 'theirs')
        trained = run(
            *(sys.executable, tools / 'train.py', 'tiny.py', '--no-persistent-workers'),
            *folder,
            *options,
            cwd=project,
        )
        assert trained.returncode == 0, trained.stdout
        assert 'training precision: bfloat16 (as set' in trained.stdout
        tested = run(
            *(sys.executable, tools / 'test.py', 'tiny.py', 'theirs/iter_2.pth'),
            *folder,
            *options,
            cwd=project,
        )
        assert tested.returncode == 0, tested.stdout
        assert 'evaluation precision: bfloat16 (as set' in tested.stdout

    def test_log_says_what_was_trained_and_tested_in(self, project):
        result = run(
            *(sys.executable, ROOT / 'tools' / 'train.py', 'tiny.py', '--test'),
            *('--precision', 'bfloat16', '--work-dir', 'precise'),
            cwd=project,
        )
        assert result.returncode == 0, result.stdout
        assert 'training precision: bfloat16 (as set' in result.stdout
        assert 'evaluation precision: bfloat16 (as set' in result.stdout


@pytest.mark.parametrize('processes', ['0', 'two', '-1'])
def test_dist_train_refuses_a_bad_number_of_processes(tmp_path, processes):
    result = run('bash', ROOT / 'tools' / 'dist_train.sh', 'tiny.py', processes, cwd=tmp_path)
    assert result.returncode == 2
    assert f"the number of processes is '{processes}'" in result.stdout


def test_several_nodes_need_a_common_address(tmp_path, monkeypatch):
    monkeypatch.setenv('NNODES', '2')
    result = run('bash', ROOT / 'tools' / 'dist_train.sh', 'tiny.py', 1, cwd=tmp_path)
    assert result.returncode == 2
    assert 'needs NODE_RANK, MASTER_ADDR and PORT' in result.stdout

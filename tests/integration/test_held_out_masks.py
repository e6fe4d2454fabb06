"""Validation, ``--test`` and tools/test.py hide the same patches, on one process and on two."""

import copy
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmbeitv2.launch.config import load_config
from mmbeitv2.models import VQKDTokenizer

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ROOT / 'configs/demo/beitv2_demo.py'


def run(tool: str, *arguments: object, folder: Path) -> None:
    result = subprocess.run(
        ['bash', str(ROOT / 'tools' / tool), *(str(argument) for argument in arguments)],
        cwd=folder,
        env={
            **os.environ,
            'PATH': f'{Path(sys.executable).parent}:{os.environ["PATH"]}',
            'CUDA_VISIBLE_DEVICES': '',
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout


@pytest.fixture(scope='module')
def config(demo_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo with a random tokenizer, validated and tested on the same photos."""
    folder = tmp_path_factory.mktemp('held_out')
    cfg = load_config(CONFIG)
    generator = copy.deepcopy(cfg.model.target_generator)
    for key in ('type', 'init_cfg'):
        generator.pop(key)
    generator.quantizer.kmeans_init = False
    torch.save(VQKDTokenizer(**generator).state_dict(), folder / 'tokenizer.pth')
    metric = dict(type='mmbeitv2.MaskedCodeMetric')
    (folder / 'held_out.py').write_text(
        f"""
_base_ = {str(CONFIG)!r}
tokenizer_checkpoint = {str(folder / 'tokenizer.pth')!r}
model = dict(target_generator=dict(init_cfg=dict(checkpoint=tokenizer_checkpoint)))
data_root = {str(demo_data / 'imagenet')!r}
train_dataloader = dict(num_workers=0, persistent_workers=False, dataset=dict(data_root=data_root))
val_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=8, dataset=dict(data_root=data_root))
test_dataloader = dict(
    num_workers=0, persistent_workers=False, batch_size=8,
    dataset=dict(data_root=data_root, data_prefix='val'))
val_evaluator = [{metric!r}, dict(type='DumpResults', out_file_path='validation.pkl')]
test_evaluator = [{metric!r}, dict(type='DumpResults', out_file_path='test.pkl')]
train_cfg = dict(max_epochs=2, val_interval=1)
param_scheduler = []
"""
    )
    return folder / 'held_out.py'


def masks_and_hits(path: Path) -> tuple[dict, float]:
    """Mask of each photo, and the share of masked patches whose code was predicted."""
    samples = pickle.loads(path.read_bytes())
    masks = {Path(sample['img_path']).name: sample['mask'].tolist() for sample in samples}
    hits = torch.cat([sample['pred_codes_mim'] == sample['masked_codes'] for sample in samples])
    return masks, hits.float().mean().item()


@pytest.fixture(scope='module', params=[1, pytest.param(2, marks=pytest.mark.slow)])
def evaluations(
    request: pytest.FixtureRequest, config: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict:
    """(masks, accuracy) of a run on so many processes, and of its checkpoint alone on 1 and 2."""
    processes = request.param
    folder = tmp_path_factory.mktemp(f'processes_{processes}')
    run('dist_train.sh', config, processes, '--test', '--work-dir', 'run', folder=folder)
    found = {kind: masks_and_hits(folder / f'{kind}.pkl') for kind in ('validation', 'test')}
    other = 3 - processes
    for name, alone in (('alone', processes), ('alone on others', other)):
        run('dist_test.sh', config, 'run/epoch_2.pth', alone, '--work-dir', 'run', folder=folder)
        found[name] = masks_and_hits(folder / 'test.pkl')
    return found


def test_masks_are_the_same_in_every_evaluation(evaluations: dict) -> None:
    first, *others = (masks for masks, _ in evaluations.values())
    assert len(first) == 16
    assert all(masks == first for masks in others)


def test_one_checkpoint_has_one_accuracy(evaluations: dict) -> None:
    validation, *others = (evaluations[kind][1] for kind in ('validation', 'test', 'alone'))
    assert 0 < validation < 1
    assert others == [validation] * 2


def test_accuracy_does_not_depend_on_the_number_of_processes(evaluations: dict) -> None:
    """But for one of 224 patches: batches differ, and with them the last bits of logits."""
    accuracy = evaluations['alone on others'][1]
    assert accuracy == pytest.approx(evaluations['alone'][1], abs=0.005)

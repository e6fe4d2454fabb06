"""What is right on each photo adds up to the metrics of the same evaluation, of every kind."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from mmengine.runner import Runner

from mmbeitv2.evaluation.bootstrap import Outcomes, score
from mmbeitv2.evaluation.outcomes import outcome_of
from mmbeitv2.launch.config import load_config

WIDTH = dict(depth=2, embed_dim=32, num_heads=2)
PROBE = {
    'model.backbone.arch': WIDTH,
    'model.head.in_channels': 32,
    'model.backbone.init_cfg': None,
}


@pytest.fixture(scope='module')
def project(demo_data, tmp_path_factory):
    folder = tmp_path_factory.mktemp('project')
    tiny_runs.write_project(folder, demo_data)
    return folder


@pytest.fixture
def evaluate(project, demo_data, tmp_path):
    """Metrics of an untrained model on the test photos, and the outcomes beside its log."""

    def evaluate(config, **options):
        data = str(demo_data / ('ade' if config == 'segment.py' else 'imagenet'))
        quiet = dict(num_workers=0, persistent_workers=False)
        for name, value in {'dataset.data_root': data, 'batch_size': 6, **quiet}.items():
            options[f'test_dataloader.{name}'] = value
        hook = {'default_hooks.outcomes.type': 'mmbeitv2.PhotoOutcomesHook'}
        path = project / config
        cfg = load_config(path if path.is_file() else config, {**options, **hook})
        cfg.work_dir = str(tmp_path)
        # mmengine's instances are global by name: another test's would keep its folder.
        cfg.experiment_name = cfg.visualizer.name = tmp_path.name
        metrics = Runner.from_cfg(cfg).test()
        (file,) = tmp_path.rglob('outcomes_test.json')
        return metrics, json.loads(file.read_text())

    return evaluate


def scores(record):
    return {
        name: score(Outcomes(*(np.array(values[side]) for side in ('right', 'asked'))))[0]
        for name, values in record['outcomes'].items()
    }


def test_classification(evaluate, demo_data):
    metrics, record = evaluate('finetune.py')
    photos = {'/'.join(p.parts[-2:]) for p in (demo_data / 'imagenet/val_unseen').glob('*/*.jpg')}
    assert set(record['photos']) == photos
    assert len(record['photos']) == len(photos) == 16
    assert scores(record) == pytest.approx({'accuracy/top1': metrics['accuracy/top1'] / 100})


def test_linear_probe(evaluate):
    metrics, record = evaluate(str(tiny_runs.ROOT / 'configs/demo/linear_probe_demo.py'), **PROBE)
    assert set(record['outcomes']) == {'probe/top1_cls', 'probe/top1_avg'}
    assert scores(record) == pytest.approx({name: metrics[name] for name in record['outcomes']})


def test_segmentation(evaluate):
    metrics, record = evaluate('segment.py')
    # mmsegmentation rounds to a hundredth of a per cent.
    assert scores(record) == pytest.approx({'mIoU': metrics['mIoU'] / 100}, abs=6e-5)
    assert np.array(record['outcomes']['mIoU']['asked']).shape == (16, 9)


def test_masked_codes_and_both_guesses(evaluate):
    metrics, record = evaluate(
        'pretrain.py',
        **{
            'model.target_generator.init_cfg': None,
            'model.target_generator.quantizer.kmeans_init': False,
        },
    )
    names = {f'masked_codes/acc_{name}' for name in ('mim', 'cls', 'majority', 'neighbour')}
    assert set(record['outcomes']) == names
    assert scores(record) == pytest.approx({name: metrics[name] for name in names})
    assert scores(record)['masked_codes/acc_majority'] > 0
    asked = np.array(record['outcomes']['masked_codes/acc_mim']['asked'])
    assert (asked == 14).all()


def test_predictions_without_labels_are_refused_by_name():
    sample = dict(img_path=str(Path('val', 'bird', '3.jpg')), pred_label=3)
    with pytest.raises(ValueError, match=r'bird/3\.jpg has img_path, pred_label after prediction'):
        outcome_of(sample, 8)

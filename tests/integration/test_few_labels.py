"""Fine-tuning on few labelled photos, by the standard tool and as the quick start asks for it."""

import pytest
from mmengine.config import Config
from tiny_runs import ROOT, end, final_state, train, write_project

from mmbeitv2.evaluation.labelled import draw_labelled


@pytest.fixture
def demo_labels(monkeypatch, demo_data):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    import demo_labels

    monkeypatch.setattr(demo_labels, 'SOURCES', demo_data / 'sources.csv')
    return demo_labels


def test_training_sees_the_labelled_photos_alone(demo_labels, demo_data, tmp_path):
    write_project(tmp_path, demo_data)
    labels, groups = demo_labels.labelled_photos(Config.fromfile(tmp_path / 'finetune.py'))
    drawn = draw_labelled(labels, 1, 0, groups).tolist()
    assert len({groups[i] for i in drawn}) == 8
    # All other photos become unreadable: a step that takes one of them ends the run.
    photos = sorted((demo_data / 'imagenet/train').glob('*/*.jpg'))
    train_folder = tmp_path / 'data' / 'train'
    for i, photo in enumerate(photos):
        copy = train_folder / photo.parent.name / photo.name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(photo.read_bytes() if i in drawn else b'no photo')
    options = [
        *demo_labels.few_label_options(drawn, 4),
        'train_cfg.max_epochs=4',
        'param_scheduler.1.end=4',
        f'train_dataloader.dataset.data_root={tmp_path / "data"}',
        'train_dataloader.num_workers=0',
        'train_dataloader.persistent_workers=False',
        'default_hooks.checkpoint.by_epoch=True',
        f'val_dataloader.dataset.classes_from={train_folder}',
        f'test_dataloader.dataset.classes_from={train_folder}',
    ]
    process = train(tmp_path, 'finetune', 'work', '--test', '--cfg-options', *options)
    try:
        code = process.wait(timeout=120)
    finally:
        end(process)
    log = (tmp_path / 'work.log').read_text()
    assert code == 0, log[-3000:]
    # One step of the eight photos an epoch, one evaluation, one checkpoint.
    assert final_state(tmp_path / 'work')['place'].tolist() == [4, 4]
    assert log.count('accuracy/top1') == 2
    assert [path.name for path in (tmp_path / 'work').glob('*.pth')] == ['epoch_4.pth']

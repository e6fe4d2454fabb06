"""The report's curves over the number of labels, from small results as the stages write them."""

import json

import numpy as np
import pytest
from PIL import Image

from mmbeitv2.reports import labels
from mmbeitv2.reports.quickstart import KNOWN, UNSEEN, measure

# Accuracies (%) on known objects; those on unseen ones are half of them.
TUNED = {'labels_1': (20, 16), 'labels_4': (30, 20), 'labels_16': (50, 32), 'finetune': (70, 60)}


@pytest.fixture
def data_root(tmp_path):
    """Ten photos of two classes to learn from, 16 to be asked about, and annotations."""
    root = tmp_path / 'data'
    for folder, count in (('train', 5), ('val', 8), ('val_unseen', 8)):
        for name in ('bird', 'fish'):
            path = root / 'imagenet' / folder / name
            path.mkdir(parents=True)
            for i in range(count):
                (path / f'{i}.jpg').touch()
    for folder in ('validation', 'validation_unseen'):
        path = root / 'ade/annotations' / folder
        path.mkdir(parents=True)
        Image.fromarray(np.ones((4, 4), np.uint8)).save(path / '0.png')
    return root


def write_run(stage, accuracy):
    folder = stage / '20260101_000000'
    (folder / 'vis_data').mkdir(parents=True)
    lines = [dict(lr=0.1, loss=2.0, iter=1, step=1), {'accuracy/top1': accuracy, 'step': 1}]
    (folder / 'vis_data/scalars.json').write_text(''.join(json.dumps(x) + '\n' for x in lines))
    (folder / f'{folder.name}.json').write_text(json.dumps({'accuracy/top1': accuracy / 2}))


def write_seed(seed, shift=0):
    for stage, accuracies in TUNED.items():
        for start, accuracy in zip(('pretrained', 'random'), accuracies):
            write_run(seed / f'{stage}_{start}', accuracy + shift)
    draws = {'1': [0.25, 0.35], '4': [0.5, 0.5], 'all': [0.75 + shift / 100]}
    intervals = {'1': 0.098, '4': 0.0, 'all': 0.2}
    names = [*labels.SHOWN, 'pretrained, mean of patches']
    answer = dict(
        classes=2,
        training_photos_a_class=3,
        features=dict.fromkeys(names, draws),
        intervals=dict.fromkeys(names, intervals),
    )
    (seed / 'labels').mkdir()
    probe = {'val': answer, 'val_unseen': answer}
    (seed / 'labels/probe.json').write_text(json.dumps(probe))


@pytest.fixture
def drawn(monkeypatch):
    """The panels that are to be drawn; the figure is left out."""
    panels = []

    def keep(rows, path):
        panels.extend(rows)
        return path

    monkeypatch.setattr(labels, 'label_curves', keep)
    return panels


def test_a_row_for_each_data_has_fine_tuning_and_probe_up_to_all_labels(tmp_path, data_root, drawn):
    write_seed(tmp_path / 'seed0')
    labels.section(tmp_path, data_root)
    assert [[panel.title for panel in row] for row in drawn] == [
        ['Fine-tuning, known objects', 'Probe, known objects'],
        ['Fine-tuning, unseen objects', 'Probe, unseen objects'],
    ]
    (tuned, probed), (unseen, _) = drawn
    assert {k: p.accuracy for k, p in tuned.curves['pretrained'].items()} == pytest.approx(
        {1: 0.2, 4: 0.3, 16: 0.5, 5: 0.7}
    )
    assert unseen.curves['random init'][16].accuracy == pytest.approx(0.16)
    assert tuned.every == 5
    assert tuned.guess == probed.guess == 0.5
    assert list(probed.curves) == list(labels.SHOWN)
    assert {k: p.accuracy for k, p in probed.curves['teacher'].items()} == pytest.approx(
        {1: 0.3, 4: 0.5, 3: 0.75}
    )


def test_one_seed_has_the_interval_of_its_photos_or_draws_several_their_spread(
    tmp_path, data_root, drawn
):
    write_seed(tmp_path / 'seed0')
    labels.section(tmp_path, data_root)
    tuned, probed = drawn[0]
    assert tuned.curves['pretrained'][16].interval == pytest.approx(1.96 * 0.5 / 16**0.5)
    assert probed.curves['teacher'][1].interval == 0.098
    write_seed(tmp_path / 'seed1', shift=2)
    labels.section(tmp_path, data_root)
    tuned, probed = drawn[2]
    assert tuned.curves['pretrained'][16] == pytest.approx((0.51, 0.02 / 2**0.5))
    assert probed.curves['teacher'][3] == pytest.approx((0.76, 0.02 / 2**0.5))


def test_nothing_is_drawn_before_the_stage_whatever_else_has_run(tmp_path, data_root):
    for start in ('pretrained', 'random'):
        write_run(tmp_path / 'seed0' / f'finetune_{start}', 60)
    assert labels.section(tmp_path, data_root).picture is None


def test_the_figure_shows_all_that_there_is(tmp_path, data_root):
    write_run(tmp_path / 'seed0/labels_1_pretrained', 20)
    half = labels.section(tmp_path, data_root).picture.stat().st_size
    write_seed(tmp_path / 'seed1')
    assert labels.section(tmp_path, data_root).picture.stat().st_size > 1.5 * half


def test_half_a_stage_is_drawn_half(tmp_path, data_root, drawn):
    write_run(tmp_path / 'seed0/labels_1_pretrained', 20)
    labels.section(tmp_path, data_root)
    assert [panel is None for panel in drawn[0]] == [False, True]
    assert list(drawn[0][0].curves) == ['pretrained']


def test_missing_training_photos_are_named(tmp_path):
    write_run(tmp_path / 'seed0/labels_1_pretrained', 20)
    with pytest.raises(FileNotFoundError, match=r'no training photos in .*--data-root'):
        labels.section(tmp_path, tmp_path / 'nowhere')


def test_sixteen_labels_stand_in_the_summary_with_an_interval(tmp_path, data_root):
    write_seed(tmp_path / 'seed0')
    figures = [m for m in measure(tmp_path, data_root) if '16 labels' in m.name]
    assert [m.data for m in figures] == [KNOWN, UNSEEN]
    assert figures[0].row()[1:4] == ['50.0 %', '32.0 %', '50.0 %']
    assert figures[0].interval is None


def test_few_labels_have_an_interval_over_the_photos_that_both_were_asked_about(
    tmp_path, data_root
):
    write_seed(tmp_path / 'seed0')
    right = dict(pretrained=[[1]] * 8 + [[0]] * 8, random=[[1]] * 4 + [[0]] * 12)
    for start, outcome in right.items():
        outcomes = {'accuracy/top1': dict(right=outcome, asked=[[1]] * 16)}
        record = dict(photos=[f'{i}.jpg' for i in range(16)], outcomes=outcomes)
        folder = tmp_path / f'seed0/labels_16_{start}/20260101_000000'
        (folder / 'outcomes_val.json').write_text(json.dumps(record))
    figures = [m for m in measure(tmp_path, data_root) if '16 labels' in m.name]
    low, high = figures[0].interval
    assert 0 < low < 0.25 < high <= 0.5
    assert 'the same for both' in figures[1].note

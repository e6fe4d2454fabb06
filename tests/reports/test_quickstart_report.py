import importlib.util
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmbeitv2.engine import choose_precision
from mmbeitv2.reports.baselines import background_miou, majority_share
from mmbeitv2.reports.html import Section, render_report
from mmbeitv2.reports.quickstart import KNOWN, UNSEEN, measure
from mmbeitv2.reports.summary import Measurement, in_words, text_table

ROOT = Path(__file__).parents[2]


@pytest.fixture
def report_tool(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / 'tools')
    spec = importlib.util.spec_from_file_location('report', ROOT / 'tools/quickstart_report.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data_root(tmp_path, photos) -> Path:
    """Six photos of birds and two of fish; half of each annotation is background."""
    root = tmp_path / 'data'
    for folder in ('imagenet/val', 'imagenet/val_unseen'):
        for i, photo in enumerate(photos[:8]):
            path = root / folder / ('fish' if i >= 6 else 'bird') / f'{i}.jpg'
            path.parent.mkdir(parents=True, exist_ok=True)
            photo.save(path)
    for folder in ('validation', 'validation_unseen'):
        (root / 'ade/images' / folder).mkdir(parents=True)
        (root / 'ade/annotations' / folder).mkdir(parents=True)
        labels = np.ones((80, 80), np.uint8)
        labels[40:] = 2
        labels[:, :8] = 0
        for i, photo in enumerate(photos[:2]):
            photo.save(root / 'ade/images' / folder / f'{i}.jpg')
            Image.fromarray(labels).save(root / 'ade/annotations' / folder / f'{i}.png')
    return root


def write_stage(stage: Path, validation: dict, test: dict | None = None) -> None:
    folder = stage / '20260101_000000'
    (folder / 'vis_data').mkdir(parents=True)
    lines = [dict(lr=0.1, loss=2.0, loss_mim=4.0, iter=20, step=20), {**validation, 'step': 1}]
    scalars = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'vis_data/scalars.json').write_text(scalars)
    if test is not None:
        (folder / f'{folder.name}.json').write_text(json.dumps(test))


@pytest.fixture
def work_dir(tmp_path) -> Path:
    work = tmp_path / 'work'
    for seed, (ours, rand) in {'seed0': (60.0, 40.0), 'seed1': (70.0, 42.0)}.items():
        write_stage(
            work / seed / 'finetune_pretrained', {'accuracy/top1': ours}, {'accuracy/top1': 30.0}
        )
        write_stage(work / seed / 'finetune_random', {'accuracy/top1': rand})
    masked = {'masked_codes/acc_mim': 0.2, 'masked_codes/acc_majority': 0.08}
    write_stage(work / 'seed0/pretrain', masked)
    return work


def find(measurements: list[Measurement], name: str, data: str = KNOWN) -> Measurement:
    return next(m for m in measurements if m.name.startswith(name) and m.data == data)


def test_figures_are_shares_by_seed_with_mean_and_spread(work_dir, data_root):
    figure = find(measure(work_dir, data_root), 'Fine-tuning').as_json()
    assert figure['values']['per_seed'] == pytest.approx({'seed0': 0.6, 'seed1': 0.7})
    assert figure['values']['mean'] == pytest.approx(0.65)
    assert figure['values']['std'] == pytest.approx(0.1 / 2**0.5)
    assert figure['random']['mean'] == pytest.approx(0.41)
    assert figure['gain'] == pytest.approx(0.24)
    assert figure['verdict'] == 'gain'
    assert figure['baseline'] == 0.75


def test_unseen_objects_are_read_from_the_test_and_never_from_the_validation(work_dir, data_root):
    figures = measure(work_dir, data_root)
    assert find(figures, 'Fine-tuning', UNSEEN).values == pytest.approx(
        {'seed0': 0.3, 'seed1': 0.3}
    )
    assert find(figures, 'Fine-tuning', UNSEEN).random == {}
    assert find(figures, 'Masked codes, last', UNSEEN).values == {}


def test_stages_that_have_not_run_have_no_number(work_dir, data_root):
    figure = find(measure(work_dir, data_root), 'Segmentation')
    assert figure.row()[1:3] == ['not run', '–']
    assert figure.as_json()['values'] == dict(per_seed={}, mean=None, std=None)


def test_masked_codes_stand_beside_the_most_frequent_code(work_dir, data_root):
    figure = find(measure(work_dir, data_root), 'Masked codes, last')
    assert figure.values == {'seed0': 0.2}
    assert figure.baseline == 0.08


@pytest.mark.parametrize(
    ('ours', 'random', 'interval', 'verdict'),
    [
        ((0.5, 0.7), (0.55, 0.56), None, 'within noise'),
        ((0.6, 0.61), (0.55, 0.56), None, 'gain'),
        ((0.5, 0.51), (0.55, 0.56), None, 'loss'),
        # The spread over seeds counts where it is known.
        ((0.5, 0.7), (0.55, 0.56), (0.01, 0.09), 'within noise'),
        # One seed shows no spread.
        ((0.9,), (0.1,), None, None),
        ((0.9,), (0.1,), (0.7, 0.9), 'gain'),
        ((0.15,), (0.1,), (-0.05, 0.15), 'within noise'),
        ((0.1,), (0.15,), (-0.08, -0.02), 'loss'),
        ((0.1,), (0.1,), (0.0, 0.0), 'within noise'),
        ((0.9,), (), (0.7, 0.9), None),
    ],
)
def test_a_gain_counts_beyond_the_noise_only(ours, random, interval, verdict):
    values, others = (dict(enumerate(numbers)) for numbers in (ours, random))
    assert Measurement('x', 'd', values, others, interval=interval).verdict == verdict


@pytest.mark.parametrize(
    ('values', 'interval', 'verdict'),
    [
        ({'a': 0.3}, (0.05, 0.15), 'gain'),
        ({'a': 0.1}, (-0.15, -0.05), 'loss'),
        ({'a': 0.1}, None, None),
        ({'a': 0.3, 'b': 0.32}, None, 'gain'),
        ({'a': 0.15, 'b': 0.3}, None, 'within noise'),
    ],
)
def test_where_random_weights_have_no_figure_the_guess_is_to_be_beaten(values, interval, verdict):
    row = Measurement('x', 'd', values, baseline=0.2, interval=interval, over_guess=True)
    assert row.verdict == verdict
    # Any other row's baseline is there to be looked at.
    assert Measurement('x', 'd', values, baseline=0.2, interval=interval).verdict is None


def test_only_a_row_without_gain_says_why():
    def remark(interval):
        row = Measurement('x', 'd', {'a': 0.3}, {'a': 0.3}, None, True, 'note', interval)
        row.reason = 'since birds are few'
        return row.remark

    assert remark((0.1, 0.2)) == 'note'
    assert remark((-0.1, 0.2)).startswith('note; within the noise: chance alone')
    assert remark((-0.1, 0.2)).endswith('; since birds are few')
    assert remark((-0.2, -0.1)).startswith('note; the other way: random weights did better')
    assert remark(None) == 'note'


def test_summary_in_words_says_what_rises_and_what_falls():
    better = Measurement('probe', 'known', {'a': 0.5}, {'a': 0.3}, interval=(0.1, 0.31))
    worse = Measurement('tuning', 'unseen', {'a': 0.2}, {'a': 0.3}, interval=(-0.15, -0.05))
    same = Measurement('mean', 'known', {'a': 0.31}, {'a': 0.3}, interval=(-0.04, 0.06))
    masked = [
        Measurement('m', 'd', {'a': 0.3}, baseline=0.2, interval=interval, over_guess=True)
        for interval in ((0.05, 0.15), (-0.05, 0.05))
    ]
    said = (
        'Pretraining raises 1 of 3 figures by more than the noise, most of all “probe” (known), '
        '+20.0 points (+10.0 to +31.0). It lowers 1: “tuning” (unseen), −10.0 points '
        '(−15.0 to −5.0). 1 lies within the noise.'
    )
    assert in_words([better, worse, same]) == said
    assert in_words([better, worse, same, *masked]) == (
        f'{said} Hidden patches are told better than by a simple guess in 1 of 2 comparisons.'
    )
    assert in_words([Measurement('x', 'd')]).startswith('Nothing has been compared')
    more = [replace(worse, name=f'row {k}', values={'a': 0.1 + k / 100}) for k in range(4)]
    assert 'It lowers 4, most of all “row 0” (unseen), −20.0 points' in in_words(more)
    assert 'row 1' not in in_words(more)


def write_outcomes(stage: Path, photos: list[str], **outcomes: tuple[list, list]) -> None:
    (start,) = stage.glob('2026*')
    record = {k: dict(right=right, asked=asked) for k, (right, asked) in outcomes.items()}
    for phase in ('val', 'test'):
        text = json.dumps(dict(photos=photos, outcomes=record))
        (start / f'outcomes_{phase}.json').write_text(text)


@pytest.fixture
def paired(tmp_path) -> Path:
    """One seed: segmentation finds 30 % of two classes and 10 % from random weights."""
    work = tmp_path / 'paired'
    rng = np.random.default_rng(0)
    asked = rng.integers(50, 500, (60, 2))
    photos = [f'{i}.jpg' for i in range(60)]
    for start, share in (('pretrained', 0.3), ('random', 0.1)):
        stage = work / 'seed0' / f'segment_{start}'
        write_stage(stage, dict(mIoU=100 * share), dict(mIoU=100 * share))
        right = rng.binomial(asked, share)
        write_outcomes(stage, photos, mIoU=(right.tolist(), asked.tolist()))
    key = 'masked_codes/acc_'
    stage = work / 'seed0/pretrain'
    shares = {f'{key}mim': 0.3, f'{key}majority': 0.1, f'{key}neighbour': 0.6}
    write_stage(stage, shares)
    asked = np.full((60, 1), 14)
    found = {name: rng.binomial(asked, share).tolist() for name, share in shares.items()}
    write_outcomes(stage, photos, **{k: (right, asked.tolist()) for k, right in found.items()})
    return work


def test_segmentation_has_an_interval_over_the_photos(paired, data_root):
    for data in (KNOWN, UNSEEN):
        row = find(measure(paired, data_root), 'Segmentation', data)
        low, high = row.interval
        assert 0.18 < low < 0.2 < high < 0.22
        assert row.verdict == 'gain'


def test_masked_codes_are_judged_against_both_guesses(paired, data_root):
    rows = [m for m in measure(paired, data_root) if m.name.startswith('Masked codes, last')]
    known = [row for row in rows if row.data == KNOWN]
    assert [row.verdict for row in known] == ['gain', 'loss']
    assert known[1].baseline == 0.6
    assert 'nearest visible patch' in known[1].remark
    assert 'the guess did better' in known[1].remark


def test_runs_without_outcomes_have_no_verdict(paired, data_root):
    for file in (paired / 'seed0/segment_random').rglob('outcomes_*.json'):
        file.unlink()
    row = find(measure(paired, data_root), 'Segmentation')
    assert row.gain == pytest.approx(0.2)
    assert row.verdict is None


def test_runs_on_different_photos_are_not_compared(paired, data_root):
    outcome = ([[1.0]], [[1.0]])
    write_outcomes(paired / 'seed0/segment_random', ['other.jpg'], mIoU=outcome)
    with pytest.raises(ValueError, match='evaluated on different photos'):
        measure(paired, data_root)


def test_few_labels_stand_beside_colours_and_the_teacher(work_dir, data_root):
    features = {
        'pretrained, [CLS]': [0.4, 0.5],
        'random weights, [CLS]': [0.2, 0.2],
        'mean colours, 4 × 4': [0.3, 0.3],
        'teacher': [0.9, 0.9],
    }
    answer = dict(classes=4, features={name: {'5': draws} for name, draws in features.items()})
    (work_dir / 'seed0/few_shot').mkdir()
    file = work_dir / 'seed0/few_shot/val_unseen.json'
    file.write_text(json.dumps({'other photos': answer}))
    figures = measure(work_dir, data_root)
    figure = find(figures, '5 labels a class, other photos', UNSEEN)
    assert figure.row()[1:4] == ['45.0 %', '20.0 %', '25.0 %']
    assert figure.note.endswith('mean colours 30.0 %; the teacher 90.0 %')
    assert figure.interval == pytest.approx((0.25 - 1.96 * 0.05, 0.25 + 1.96 * 0.05))
    assert find(figures, '5 labels a class, photos of other', UNSEEN).values == {}
    assert find(figures, '5 labels a class', KNOWN).values == {}


def test_text_table_shows_spread_only_for_several_seeds():
    table = text_table(
        [
            Measurement('several', 'd', {'a': 0.5, 'b': 0.7}),
            Measurement('one', 'd', {'a': 0.5}, {'a': 0.4}, 0.1, interval=(0.02, 0.181)),
        ]
    )
    assert '60.0 ± 14.1 %' in table
    assert re.search(r'one +50.0 % +40.0 % +10.0 % +\+10.0 points \(\+2.0 to \+18.1\)', table)


def test_baselines_of_data(data_root, tmp_path):
    assert majority_share(data_root / 'imagenet/val') == 0.75
    # Background and one class, each on half of the labelled pixels: IoU ½ and 0.
    assert background_miou(data_root / 'ade/annotations/validation') == 0.25
    with pytest.raises(FileNotFoundError, match='make_demo_data'):
        majority_share(tmp_path / 'none')


def test_report_of_unfinished_work_marks_what_is_missing(report_tool, work_dir, data_root, capsys):
    report_tool.main(['--work-dir', str(work_dir), '--data-root', str(data_root)])
    page = (work_dir / 'report.html').read_text()
    assert page.count('not run: this stage') == 7
    assert page.count('data:image/png;base64,') == 2
    assert '65.0 ± 7.1 %' in page
    assert '<script' not in page
    assert not re.search(r'(src|href)="(?!data:)', page)
    for name in ('pretraining_curves.png', 'comparison_curves.png'):
        assert (work_dir / name).is_file()
    results = json.loads((work_dir / 'results.json').read_text())
    assert results['made_with']['seeds'] == '0, 1'
    assert '65.0 ± 7.1 %' in capsys.readouterr().out


def test_precisions_are_those_that_the_stages_were_started_with(report_tool, tmp_path):
    for stage, options in (('vqkd', []), ('seed0/pretrain', ['--precision', 'float32'])):
        folder = tmp_path / stage / '20260101_000000'
        folder.mkdir(parents=True)
        (folder / 'run.json').write_text(json.dumps(dict(command=['tools/train.py', *options])))
    usual = str(choose_precision().dtype).removeprefix('torch.')
    assert report_tool.trained_precisions(tmp_path / 'seed0') == ['float32']
    assert report_tool.trained_precisions(tmp_path) == sorted({usual, 'float32'})


def test_report_with_models_draws_them(report_tool, work_dir, data_root, model, tokenizer):
    import torch

    for stage, part in (('vqkd', tokenizer), ('seed0/pretrain', model)):
        (work_dir / stage).mkdir(exist_ok=True)
        torch.save(dict(state_dict=part.state_dict()), work_dir / stage / 'epoch_1.pth')
        (work_dir / stage / 'last_checkpoint').write_text('epoch_1.pth')
    mask = "dict(type='mmbeitv2.BlockMask', grid_size=4, num_masked=6, min_block=2)"
    (work_dir / 'seed0/pretrain/config.py').write_text(
        f"nested = dict(type='mmbeitv2.SampleSeeded', transforms=[{mask}])\n"
        'val_dataloader = dict(dataset=dict(pipeline=[nested]))\n'
    )
    (work_dir / 'vqkd/config.py').write_text('model = dict(quantizer=dict(num_codes=12))\n')
    report_tool.main(['--work-dir', str(work_dir), '--data-root', str(data_root)])
    for name in ('code_mosaic.png', 'code_maps.png', 'masked_codes.png'):
        assert (work_dir / name).stat().st_size > 5_000
    page = (work_dir / 'report.html').read_text()
    assert page.count('data:image/png;base64,') == 5
    assert 'at random 8.3 %' in page


def test_wrong_folders_end_with_one_line(report_tool, tmp_path, work_dir):
    with pytest.raises(FileNotFoundError, match=r'quickstart\.sh'):
        report_tool.main(['--work-dir', str(tmp_path / 'none')])
    with pytest.raises(FileNotFoundError, match='--data-root'):
        report_tool.main(['--work-dir', str(work_dir), '--data-root', str(tmp_path / 'none')])


def test_page_holds_every_figure_and_escapes_text(tmp_path):
    picture = tmp_path / 'a.png'
    Image.new('RGB', (2, 2)).save(picture)
    page = render_report(
        'A < B', 'verdict', 'lead', [Measurement('figure one', 'set', {'a': 0.5})],
        [Section('S', 'look', picture), Section('T', 'look', None)], {'date': 'today'},
    )  # fmt: skip
    for text in ('A &lt; B', 'figure one', '50.0 %', 'not run', 'today', 'data:image/png'):
        assert text in page


def test_linear_segmentation_is_beside_random_weights_with_its_interval(work_dir, data_root):
    """Of two classes the first photo gets 3 and 1 of 4 pixels, the second all."""
    found = {
        'pretrained': dict(right=[[3, 1], [4, 4]], asked=[[4, 4], [4, 4]]),
        'random weights': dict(right=[[1, 1], [2, 2]], asked=[[4, 4], [4, 4]]),
        'teacher': dict(right=[[4, 4], [4, 4]], asked=[[4, 4], [4, 4]]),
    }
    path = work_dir / 'seed0/dense_probe/validation.json'
    path.parent.mkdir()
    path.write_text(json.dumps(dict(photos=['a', 'b'], outcomes=found)))
    row = find(measure(work_dir, data_root), 'Linear segmentation')
    assert row.values == pytest.approx({'seed0': 12 / 16})
    assert row.gain == pytest.approx(12 / 16 - 6 / 16)
    # A photo drawn twice, either of them.
    assert row.interval == pytest.approx((4 / 8 - 2 / 8, 8 / 8 - 4 / 8))
    assert row.verdict == 'gain'
    assert 'the teacher 100.0 %' in row.note
    assert find(measure(work_dir, data_root), 'Linear segmentation', UNSEEN).values == {}

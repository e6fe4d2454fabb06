"""The page of a run's looks: verdict, curves, table; at two widths, and while the run goes on."""

import pytest

from mmbeitv2.evaluation.learning_record import FILE, append_record
from mmbeitv2.evaluation.verdict import WORDS
from mmbeitv2.reports.learning_page import learning_page, write_learning_page
from mmbeitv2.reports.learning_page_hook import LearningPageHook
from mmbeitv2.reports.svg_curves import Chart, Curve, svg_chart

SHARED = dict(loss_training=0.5, rank_mean=14.0, code_usage=0.9, code_perplexity=60.0)
MEASURES = dict(
    pretraining=dict(
        SHARED,
        loss_constant=4.4,
        acc_held_out=0.12,
        acc_training=0.13,
        acc_majority=0.08,
        acc_neighbour=0.2,
        over_majority=0.04,
        over_neighbour=-0.08,
        rank_cls=11.0,
        prediction_entropy_share=0.8,
        attention_entropy_share=0.7,
        knn_mean=0.4,
        ridge_mean=0.5,
        probe_guess=0.125,
    ),
    tokenizer=dict(SHARED, loss_constant=0.7, codes_changed=0.5, usage_epoch=1.0),
)


def look(epoch, kind='pretraining', word='learning', reason='it gains', advice='Go on.'):
    return dict(
        kind=kind,
        iter=100 * epoch,
        epoch=epoch,
        max_iters=2000,
        max_epochs=20,
        interval=1,
        photos=dict(held_out=256, training=256, digest='x'),
        codes=128,
        measures=dict(MEASURES[kind], loss_held_out=1 / (1 + epoch)),
        errors=dict(loss_held_out=0.02),
        cost=dict(seconds=1.2, share=0.03),
        verdict=dict(word=word, reason=reason, advice=advice),
    )


@pytest.fixture(params=['pretraining', 'tokenizer'])
def kind(request):
    return request.param


def test_page_is_whole_at_both_widths(tmp_path, kind, open_page, width):
    for epoch in range(15):
        append_record(tmp_path, look(epoch, kind))
    page = open_page(write_learning_page(tmp_path, finished=True))
    assert page.locator('.said b').inner_text() == 'Learning'
    assert page.evaluate('document.documentElement.scrollWidth') <= width
    assert page.locator('figure.chart').count() == (5 if kind == 'pretraining' else 4)
    assert page.locator('table.looks tbody tr').count() == 12
    assert page.locator('table.looks tbody tr').first.inner_text().startswith('epoch 14')
    box = page.locator('table.looks').bounding_box()
    assert box['x'] + box['width'] <= width


def test_page_loads_again_until_the_run_is_finished():
    assert 'http-equiv="refresh"' in learning_page([look(1)], 'run')
    assert 'http-equiv="refresh"' not in learning_page([look(1)], 'run', finished=True)


@pytest.mark.parametrize('word', WORDS)
def test_first_look_of_every_verdict_makes_a_page(word, kind):
    page = learning_page([look(0, kind, word)], 'run')
    assert f'<b>{word.capitalize()}</b>' in page


def test_names_and_reasons_are_escaped():
    page = learning_page([look(1, reason='<b>x</b>', advice='<i>')], '<script>alert(1)</script>')
    for text in ('<script>', '<b>x</b>', '<i>'):
        assert text not in page
    assert '&lt;script&gt;' in page


def test_curves_stay_within_their_chart():
    chart = svg_chart(Chart('t', [Curve('c', [(0, 3.0), (7, 0.01)], 'red', [1, 1])]), 'epoch')
    heights = [float(part.split('"')[0]) for part in chart.split(' cy="')[1:]]
    assert len(heights) == 2
    assert all(0 <= height <= 220 for height in heights)
    assert svg_chart(Chart('t', [Curve('c', [], 'red')]), 'epoch') == ''


@pytest.mark.parametrize('values', [(0.0, 0.0), (5.0, 5.0), (1e-9, 2e-9), (1e6, 3e6)])
def test_any_range_has_ticks(values):
    chart = svg_chart(Chart('t', [Curve('c', list(enumerate(values)), 'red')]), 'epoch')
    assert chart.count('text-anchor="end"') >= 3


class TestHook:
    @pytest.fixture
    def runner(self, tmp_path):
        class Run:
            work_dir = str(tmp_path)

        return Run()

    def test_follows_the_looks_and_ends_with_the_run(self, runner, tmp_path):
        hook, page = LearningPageHook(), tmp_path / 'learning.html'
        hook.before_train(runner)
        assert not page.exists()
        append_record(tmp_path, look(1))
        hook.after_train_epoch(runner)
        first = page.read_text()
        assert 'http-equiv="refresh"' in first
        page.write_text('as it was')
        hook.after_train_epoch(runner)
        assert page.read_text() == 'as it was'
        hook.after_train(runner)
        assert 'http-equiv="refresh"' not in page.read_text()
        assert 'epoch 1' in page.read_text()

    def test_config_names_it(self):
        from mmbeitv2.registry import HOOKS

        assert isinstance(HOOKS.build(dict(type='mmbeitv2.LearningPageHook')), LearningPageHook)


def test_a_run_without_looks_says_what_to_set(tmp_path):
    with pytest.raises(FileNotFoundError, match=f'{FILE} has no look at the run: LearningHook'):
        write_learning_page(tmp_path)

"""Where pretraining on own photos gains nothing, the report says why, from what it measured."""

import pytest

from mmbeitv2.reports.few_shot import CLS, CODES, COLOURS, RANDOM_CLS, TEACHER
from mmbeitv2.reports.own_advice import beside_others, in_short, what_to_change
from mmbeitv2.reports.summary import Measurement


def answers(teacher, codes=None):
    means = {CLS: 0.66, RANDOM_CLS: 0.68, COLOURS: 0.68, CODES: codes, TEACHER: teacher}
    return dict(
        classes=2,
        features={name: {'5': [0.5], '20': [m, m]} for name, m in means.items() if m is not None},
    )


def row(pretrained):
    return Measurement(
        '20 labels', 'photos', {'run': pretrained}, {'run': 0.68}, interval=(-0.01, 0.01)
    )


@pytest.mark.parametrize(
    ('teacher', 'codes', 'right', 'said', 'unsaid'),
    [
        (0.70, 0.65, 0.2, 'only +2.0 points from mean colours', 'more steps'),
        (0.90, 0.67, 0.05, '5.0 % are told, by copying a visible neighbour’s 14.0 %', 'points'),
        (0.90, None, 0.2, 'nothing here says why', 'more steps'),
        (0.754, 0.677, 0.2, 'the codes know 67.7 %, the teacher 75.4 %: the tokenizer', 'says why'),
        (0.754, 0.74, 0.2, 'the features know 66.0 %, the codes 74.0 %: give pre', 'tokenizer'),
        # A tokenizer that was given comes without its teacher.
        (None, 0.6, 0.2, 'nothing here says why', 'points from'),
    ],
)
def test_why_nothing_is_gained(teacher, codes, right, said, unsaid):
    text = what_to_change([row(0.66)], answers(teacher, codes), right, 0.14)
    assert said in text
    assert unsaid not in text


def test_nothing_is_to_change_where_more_is_gained_than_lost():
    """A run of solar cells gained with 100 labels, lost with 2 to 50, and had no advice."""
    gained = Measurement('20 labels', 'photos', {'run': 0.8}, {'run': 0.6}, interval=(0.1, 0.3))
    lost = Measurement('5 labels', 'photos', {'run': 0.5}, {'run': 0.6}, interval=(-0.2, -0.1))
    found = answers(0.7)
    found['features'][CLS]['20'] = [0.79, 0.81]
    assert what_to_change([gained], found, 0.05, 0.14) == ''
    assert what_to_change([gained, lost, gained], found, 0.05, 0.14) == ''
    assert 'What to change' in what_to_change([gained, lost], found, 0.05, 0.14)


@pytest.mark.parametrize('draws', [[0.5, 0.52], [0.6, 0.77]])
def test_a_sentence_that_tells_of_no_gain_is_followed_by_what_to_change(draws):
    """Two of five figures may gain where that with most labels does not."""
    found = answers(0.7)
    found['features'][CLS]['20'] = draws
    gained = Measurement('5 labels', 'photos', {'run': 0.8}, {'run': 0.6}, interval=(0.1, 0.3))
    lost = Measurement('20 labels', 'photos', {'run': 0.5}, {'run': 0.6}, interval=(-0.2, -0.1))
    assert 'pretraining gains:' not in in_short(found)
    rows = [gained, gained, row(0.68), row(0.68), lost]
    assert 'What to change' in what_to_change(rows, found, 0.2, 0.14)


def test_features_are_set_beside_all_others_with_most_labels():
    text = beside_others(answers(0.7, 0.65))
    assert text == (
        'Beside others, with 20 labels a class, from [CLS]: pretrained 66.0 %, random weights '
        '68.0 %, mean colours 68.0 %, its codes 65.0 %, the teacher itself 70.0 %.'
    )


@pytest.mark.parametrize(
    ('draws', 'word'),
    [
        ([0.8, 0.82], 'gains: 81.0 %'),
        ([0.5, 0.52], 'loses: 51.0 %'),
        ([0.6, 0.77], 'gains nothing'),
    ],
)
def test_the_result_is_said_in_a_sentence(draws, word):
    found = answers(0.7)
    found['features'][CLS]['20'] = draws
    text = in_short(found)
    assert text.startswith(f'With 20 labels a class pretraining {word}')
    assert '68.0 % from random weights' in text


def test_one_label_is_no_labels():
    found = answers(0.7, 0.65)
    found['features'] = {name: {'1': by['20']} for name, by in found['features'].items()}
    assert in_short(found).startswith('With 1 label a class')
    assert 'with 1 label a class, from [CLS]' in beside_others(found)

"""One word for a run, from figures of which the right word is known."""

import numpy as np
import pytest

from mmbeitv2.evaluation.verdict import (
    COLLAPSED,
    LEARNING,
    MEMORISING,
    STALLED,
    TOO_EARLY,
    verdict,
)

PHOTOS, EPOCHS = 100, 20
HEALTHY = dict(
    pretraining=dict(
        over_majority=0.1,
        over_neighbour=0.02,
        acc_held_out=0.2,
        acc_majority=0.1,
        acc_neighbour=0.18,
        guess_perplexity=40.0,
        prediction_information=0.8,
        code_perplexity=90.0,
        prediction_entropy=3.9,
        loss_constant=4.4,
        **{f'{n}_{f}': v for n, v in (('rank', 20.0), ('varied', 0.4)) for f in ('cls', 'mean')},
    ),
    tokenizer=dict(
        code_perplexity=90.0, loss_constant=0.9, rank_mean=20.0, varied_mean=0.4, usage_epoch=1.0
    ),
)
CONSTANT = dict(guess_perplexity=1.0, prediction_information=0.0, prediction_entropy=4.3)
ERRORS = dict(over_majority=0.01, over_neighbour=0.01, code_perplexity=2.0)


def history(
    held_out,
    training=None,
    kind='pretraining',
    noise=0.02,
    photos=PHOTOS,
    epochs=EPOCHS,
    start='random',
    probes=None,
    every=1,
    **measures,
):
    """Looks before and after each epoch, or ``every`` n, whose mean losses are those given.

    A photo is easy or hard by 0.5, and every look adds ``noise`` of its own to it.
    """
    random = np.random.default_rng(0)
    hard = random.normal(0, 0.5, (2, photos))
    records = []
    for epoch, losses in enumerate(zip(held_out, training or held_out)):
        by_photo = dict(
            zip(('loss_held_out', 'loss_training'), np.add(hard, np.array(losses)[:, None]))
        )
        by_photo = {
            name: (values + random.normal(0, noise, photos)).tolist()
            for name, values in by_photo.items()
        }
        m = {**HEALTHY[kind], **measures}
        m |= {name: float(np.mean(values)) for name, values in by_photo.items()}
        if probes:
            right = np.arange(200) < 200 * probes[epoch]
            by_photo['knn_mean'] = random.permutation(right).astype(int).tolist()
            m['knn_mean'] = probes[epoch]
        records.append(
            dict(
                kind=kind,
                iter=10 * epoch * every,
                epoch=epoch * every,
                max_iters=10 * epochs,
                max_epochs=epochs,
                start=start,
                photos=dict(held_out=photos, training=photos, digest='a'),
                codes=128,
                patches=3600,
                revive_below=None,
                measures=m,
                errors=dict(ERRORS, loss_held_out=0.05, loss_training=0.05),
                by_photo=by_photo,
            )
        )
    return records


def falling(steps, start=4.8, by=0.1):
    return [start - by * step for step in range(steps)]


def words(losses, epochs, every, **options):
    """Verdicts at twenty looks, by the share of the schedule."""
    records = history(losses, epochs=epochs, every=every, **options)
    ends = np.linspace(2, len(records), 20).round().astype(int)
    return {records[end - 1]['epoch'] / epochs: verdict(records[:end]).word for end in ends}


def power_law(epochs, every, until=1.0, end_of_warmup=0.05):
    """4.8 at the start, through the warm-up towards 3.3; flat from a part of the schedule on."""
    times = np.minimum(np.arange(0, epochs + 1, every), until * epochs)
    warm = max(1.0, end_of_warmup * epochs)
    rates = np.where(times < warm, times**2 / (2 * warm), times - warm / 2)
    return (3.3 + 1.5 * (1 + rates) ** -0.3).tolist()


LENGTHS = [(20, 1), (100, 1), (300, 1), (300, 10), (1600, 8), (1600, 100)]


@pytest.mark.parametrize(('epochs', 'every'), LENGTHS)
class TestRunsOfAnyLength:
    @pytest.mark.parametrize('noise', [0.02, 0.1])
    def test_a_loss_that_falls_to_the_end_is_never_stalled(self, epochs, every, noise):
        found = words(power_law(epochs, every), epochs, every, noise=noise)
        assert STALLED not in found.values()
        assert {word for at, word in found.items() if at >= 0.2} == {LEARNING}

    def test_one_that_has_never_fallen_is_stalled_after_the_warmup(self, epochs, every):
        flat = [4.8] * len(range(0, epochs + 1, every))
        found = words(flat, epochs, every)
        assert {word for at, word in found.items() if at < 0.1} <= {TOO_EARLY}
        assert STALLED in {word for at, word in found.items() if at < 0.2}
        assert all(word == STALLED for at, word in found.items() if at >= 0.2)

    def test_one_that_falls_no_more_is_stalled_half_as_much_later(self, epochs, every):
        found = words(power_law(epochs, every, until=0.5), epochs, every)
        assert STALLED not in {word for at, word in found.items() if at < 0.5}
        assert STALLED in {word for at, word in found.items() if 0.5 < at < 0.85}


def test_few_noisy_looks_do_not_tell_a_standstill_from_a_slow_fall():
    """Nothing is said of what cannot be seen, before photos or looks are enough."""
    losses = power_law(20, 1, until=0.5)
    assert STALLED not in words(losses, 20, 1, noise=0.2, photos=16).values()
    assert STALLED in words(losses, 20, 1, noise=0.02, photos=16).values()


@pytest.mark.parametrize('kind', ['pretraining', 'tokenizer'])
class TestBothKinds:
    def test_a_loss_that_falls_is_learning(self, kind):
        found = verdict(history(falling(8, 0.8, 0.05), kind=kind))
        assert found.word == LEARNING
        assert 'fallen by 0.35' in found.reason

    def test_it_is_learning_after_the_first_epoch(self, kind):
        assert verdict(history(falling(2, 0.8, 0.05), kind=kind)).word == LEARNING

    def test_before_the_first_epoch_nothing_is_said(self, kind):
        assert verdict(history([4.8], kind=kind)).word == TOO_EARLY

    def test_no_gain_over_the_last_third_is_stalled(self, kind):
        found = verdict(history(falling(4, 0.8) + [0.5] * 6, kind=kind))
        assert found.word == STALLED
        assert 'since epoch 6' in found.reason
        assert found.advice

    def test_a_run_that_never_moves_is_stalled_at_the_third_look(self, kind):
        words = [verdict(history([0.8] * n, kind=kind, noise=0)).word for n in (2, 3, 4)]
        assert words == [TOO_EARLY, TOO_EARLY, STALLED]

    def test_wavering_for_a_few_epochs_of_a_long_schedule_is_no_standstill(self, kind):
        losses = falling(10, 0.9, 0.03) + [0.63] * 6
        assert verdict(history(losses, kind=kind, epochs=150)).word == LEARNING
        assert verdict(history(losses, kind=kind, epochs=40)).word == STALLED

    def test_a_codebook_that_follows_fixed_weights_is_no_learning(self, kind):
        losses = [0.970, 0.969, 0.967, 0.966]
        words = [verdict(history(losses[:n], kind=kind, noise=0, epochs=6)).word for n in (3, 4)]
        assert words == [TOO_EARLY, STALLED]

    def test_a_standstill_at_the_end_of_the_schedule_is_meant(self, kind):
        losses = falling(5, 0.8) + [0.4] * 6
        assert verdict(history(losses, kind=kind, epochs=10)).word == LEARNING
        assert verdict(history(losses, kind=kind, epochs=11)).word == STALLED

    def test_held_out_worse_and_training_better_is_memorising(self, kind):
        held_out = [0.8, 0.7, 0.6, 0.65, 0.7]
        found = verdict(history(held_out, falling(5, 0.8), kind=kind))
        assert found.word == MEMORISING
        assert 'since epoch 2' in found.reason
        assert 'epoch 2' in found.advice

    def test_both_worse_is_no_memorising(self, kind):
        worse = [0.8, 0.7, 0.6, 0.65, 0.7]
        assert verdict(history(worse, worse, kind=kind)).word != MEMORISING

    @pytest.mark.parametrize('epochs', [8, 7])
    @pytest.mark.parametrize('training', ['rises', 'is even'])
    def test_a_run_that_has_diverged_is_not_learning(self, kind, training, epochs):
        held_out = [0.63, 0.5, 0.4, 0.35, 0.3, 0.35, 0.42, 0.46]
        even = [0.63, 0.5, 0.4, 0.35, 0.3, 0.3, 0.3, 0.3]
        losses = held_out, even if training == 'is even' else held_out
        found = verdict(history(*losses, kind=kind, epochs=epochs))
        assert found.word == STALLED
        assert found.reason.startswith('since epoch 4 the loss of held-out photos has risen by 0.1')
        assert 'weights of about epoch 4' in found.advice

    def test_a_single_look_or_a_small_part_of_the_fall_is_no_divergence(self, kind):
        falls = [0.63, 0.5, 0.4, 0.35, 0.3]
        for after in ([0.42], [0.42, 0.29], [0.32, 0.32]):
            assert verdict(history(falls + after, kind=kind)).word == LEARNING

    def test_a_gap_alone_is_no_memorising(self, kind):
        losses = falling(6, 0.8, 0.02), falling(6, 0.8, 0.1)
        assert verdict(history(*losses, kind=kind)).word == LEARNING

    @pytest.mark.parametrize('name', ['mean', 'cls'])
    def test_equal_features_are_a_collapse_at_the_first_epoch(self, kind, name):
        if (kind, name) == ('tokenizer', 'cls'):
            name = 'mean'
        spoiled = {f'rank_{name}': 1.0, f'varied_{name}': 1e-6}
        found = verdict(history(falling(2, 0.8), kind=kind, **spoiled))
        assert found.word == COLLAPSED
        assert 'effective rank 1.00' in found.reason

    def test_few_even_codes_are_a_collapse_at_the_first_epoch_whatever_the_usage(self, kind):
        records = history(falling(2, 0.8), kind=kind, code_perplexity=5.0)
        assert verdict(records).word == LEARNING  # 5 ± 4 may be more than one code in twenty
        records[-1]['errors']['code_perplexity'] = 0.3
        found = verdict(records)
        assert found.word == COLLAPSED
        assert '5.0 codes evenly (perplexity) of 128' in found.reason

    def test_the_advice_names_no_option_that_is_on(self, kind):
        records = history(falling(2, 0.8), kind=kind, code_perplexity=1.0)
        records[-1] |= dict(errors=dict(ERRORS, code_perplexity=0.1), revive_below=0.5)
        advice = verdict(records).advice
        assert ('raise revive_below of the quantizer above 0.5' in advice) == (kind == 'tokenizer')
        assert 'set revive_below' not in advice


class TestPretraining:
    def test_being_sure_of_one_code_is_a_collapse_at_the_first_epoch(self):
        found = verdict(history([4.8, 4.6], **CONSTANT | dict(prediction_entropy=0.3)))
        assert found.word == COLLAPSED
        assert 'entropy 0.30 nats, where the codes have 4.40' in found.reason

    def test_having_found_how_frequent_codes_are_is_no_collapse(self):
        assert verdict(history([4.8, 4.4], **CONSTANT, over_majority=0.0)).word == LEARNING

    def test_falling_back_to_these_frequencies_is_a_collapse(self):
        records = history([4.8, 4.2, 4.0, 4.4])
        records[-1]['measures'] |= CONSTANT
        found = verdict(records)
        assert found.word == COLLAPSED
        assert 'told places apart by 0.80 nats at epoch' in found.reason

    @pytest.mark.parametrize(('over', 'word'), [(0.01, STALLED), (0.03, LEARNING)])
    def test_never_above_the_constant_guess_is_stalled(self, over, word):
        found = verdict(history(falling(8, 4.8, 0.015), over_majority=over))
        assert found.word == word

    def test_what_is_no_better_than_copying_is_said(self):
        found = verdict(history(falling(12, 4.8), over_neighbour=-0.1))
        assert found.word == LEARNING
        assert 'nearest visible code is still right more often (18.0%)' in found.advice


class TestTokenizer:
    @pytest.mark.parametrize(
        ('revive_below', 'done', 'begin'),
        [
            (None, 0.1, 'Start again: set'),
            (0.5, 0.1, 'Wait until epoch 8 of 20: codes are revived'),
            (0.5, 0.5, 'Start again: raise'),
        ],
    )
    def test_what_may_mend_itself_is_not_to_be_started_again(self, revive_below, done, begin):
        """An own run with revival used 2.4 of 256 codes evenly at first, 195 at its end."""
        records = history(falling(2, 0.8), kind='tokenizer', code_perplexity=1.0)
        last = records[-1]
        last |= dict(errors=dict(ERRORS, code_perplexity=0.1), revive_below=revive_below)
        last |= dict(iter=done * last['max_iters'])
        found = verdict(records)
        assert found.word == COLLAPSED
        assert found.advice.startswith(begin)

    @pytest.mark.parametrize(('by', 'word'), [(0.005, STALLED), (0.02, LEARNING)])
    def test_no_better_than_a_constant_answer_is_stalled_unless_it_will_be(self, by, word):
        """The constant answer has 0.9, and 13 of 20 epochs are to come."""
        records = history(falling(8, 1.06, by), kind='tokenizer')
        assert verdict(records).word == word
        assert verdict(records[:3]).word != STALLED


class TestProbes:
    def test_worse_than_random_weights_is_stalled_though_the_codes_are_learned(self):
        found = verdict(history(falling(8), probes=[0.76] + [0.55] * 7))
        assert found.word == STALLED
        assert '5-NN of the mean of patches 55.0%, not above random weights (76.0%' in found.reason

    def test_within_noise_of_random_weights_is_said(self):
        found = verdict(history(falling(8), probes=[0.76] + [0.74] * 7))
        assert found.word == LEARNING
        assert '74.0%, not above random weights' in found.reason

    def test_better_than_random_weights_is_said(self):
        found = verdict(history(falling(8), probes=[0.5] + [0.8] * 7))
        assert '80.0%, above random weights' in found.reason

    def test_a_start_from_trained_weights_is_not_called_random(self):
        found = verdict(history(falling(8), probes=[0.8] * 8, start='loaded'))
        assert 'random weights' not in found.reason


class TestNoise:
    @pytest.mark.parametrize(('photos', 'word'), [(15, TOO_EARLY), (16, LEARNING)])
    def test_few_photos_give_no_verdict(self, photos, word):
        assert verdict(history(falling(8), photos=photos)).word == word

    @pytest.mark.parametrize('photos', [20, 200])
    def test_a_small_gain_counts_once_there_are_photos_enough(self, photos):
        found = verdict(history(falling(9, by=0.012), noise=0.4, photos=photos))
        assert found.word == (LEARNING if photos == 200 else TOO_EARLY)

    def test_chance_is_rarely_called_memorising(self):
        flat = [0.5] * 12
        words = []
        for number in range(20):
            records = history(flat, falling(12, 0.5, 0.01), noise=0.05, photos=20 + number)
            words += [verdict(records[:n]).word for n in range(3, 12)]
        assert words.count(MEMORISING) <= 0.02 * len(words)

    def test_looks_at_other_photos_are_left_out(self):
        records = history(falling(8))
        for record in records[:-1]:
            record['photos'] = dict(record['photos'], digest='others')
        assert verdict(records).word == TOO_EARLY

    def test_looks_that_cannot_be_paired_are_left_out(self):
        """Of files of any age: other lengths, none at all, and what was no number."""
        records = history(falling(8))
        records[1]['by_photo']['loss_held_out'].pop()
        records[2]['by_photo']['loss_training'].pop()
        records[3]['by_photo']['loss_held_out'][5] = None
        del records[4]['by_photo']['loss_training']
        del records[4]['measures']['loss_training']
        whole = [records[0], *records[5:]]
        assert verdict(records) == verdict(whole)
        assert verdict(records[:2]).word == TOO_EARLY

    @pytest.mark.parametrize('flat', [False, True])
    def test_photos_first_seen_late_tell_no_standstill(self, flat):
        """What they would have fallen by from the start is not known."""
        records = history(power_law(300, 1, until=0.5 if flat else 1), epochs=300)
        for record in records[:250]:
            record['photos'] = dict(record['photos'], digest='others')
        found = {verdict(records[:n]).word for n in range(251, 300)}
        assert found <= {TOO_EARLY, LEARNING}

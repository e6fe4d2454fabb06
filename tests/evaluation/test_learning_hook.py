"""Looks at runs that train: what is recorded, and that training does not notice."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from learned_photos import loaders, write_both, write_photos
from mmengine.hooks import Hook

from mmbeitv2.evaluation import LearningHook, rehearsal
from mmbeitv2.evaluation import verdict as rule
from mmbeitv2.evaluation.learning_cost import Times
from mmbeitv2.evaluation.learning_record import FILE, append_record, read_learning
from mmbeitv2.evaluation.looked_photos import held_out_photos, labelled_photos
from mmbeitv2.evaluation.verdict import TOO_EARLY
from mmbeitv2.models import VQKD, BEiTV2
from mmbeitv2.reports.learning_page import PAGE

HOOK = dict(type='mmbeitv2.LearningHook', max_cost=1.0)
OURS = dict(
    type='mmbeitv2.MixedPrecisionOptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3),
    constructor='mmbeitv2.LayerDecayOptimWrapperConstructor',
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return write_both(tmp_path_factory.mktemp('photos'))


@pytest.fixture
def build(beitv2_config, vqkd_config):
    """A model of each kind, which draws random numbers in training."""

    def build(kind):
        torch.manual_seed(0)
        if kind == 'pretraining':
            beitv2_config['backbone']['drop_path_rate'] = 0.2
            model = BEiTV2(**beitv2_config)
        else:
            vqkd_config['encoder'] = dict(vqkd_config['encoder'], drop_path_rate=0.2)
            vqkd_config['quantizer'] = dict(num_codes=32, code_dim=8, revive_below=0.5)
            model = VQKD(**vqkd_config)
        model.init_weights()
        return model

    return build


@pytest.fixture
def train(build, make_runner, folder, tmp_path):
    """Train, and return the runner."""

    def train(kind, *hooks, work_dir='work', data=folder, epochs=1, override=None, **kwargs):
        torch.manual_seed(0)
        codebook = [
            dict(type='mmbeitv2.CodebookInitHook', vectors_per_code=2),
            dict(type='mmbeitv2.CodebookUsageHook'),
        ]
        runner = make_runner(
            build(kind),
            work_dir=tmp_path / work_dir,
            hooks=[*(codebook if kind == 'tokenizer' else []), *hooks],
            epochs=epochs,
            override={
                **loaders(data, kind == 'pretraining'),
                # Validations are no part of it.
                'train_cfg': dict(by_epoch=True, max_epochs=epochs, val_interval=99),
                **(override or {}),
            },
            **kwargs,
        )
        runner.train()
        return runner

    return train


class _Draws(Hook):
    """What the generators would give after each epoch, and the modes of the modules."""

    priority = 'VERY_LOW'

    def __init__(self):
        self.seen = []

    def after_train_epoch(self, runner):
        states = random.getstate(), np.random.get_state(), torch.get_rng_state()
        drawn = random.random(), np.random.rand(), torch.rand(()).item()
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        self.seen.append((drawn, [module.training for module in runner.model.modules()]))


class _Steps(Hook):
    def __init__(self):
        self.made = 0

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.made += 1


class _Spoil(Hook):
    """Weights that are no numbers, from the last step of a run of two epochs on."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == runner.max_iters - 1:
            with torch.no_grad():
                runner.model.backbone.cls_token.fill_(float('nan'))


class _NoPlace(Hook):
    """A folder where a file would be, which no process can write to, in some epochs."""

    priority = 'VERY_HIGH'

    def __init__(self, name, until):
        self.name, self.until = name, until

    def after_train_epoch(self, runner):
        path = Path(runner.work_dir, self.name)
        if runner.epoch == 0:
            path.unlink()
            path.mkdir()
        elif runner.epoch + 1 == self.until:
            path.rmdir()


def everything(model):
    """Weights, and the buffers that no checkpoint has."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def noticed(train, kind, hook=HOOK, **options):
    """What differs between training with and without looks."""
    ends = []
    for hooks in ([], [hook]):
        draws = _Draws()
        runner = train(kind, *hooks, draws, work_dir=f'work{len(hooks)}', epochs=2, **options)
        ends.append((everything(runner.model), draws.seen))
    (plain, drawn), (watched, drawn_too) = ends
    assert plain.keys() == watched.keys()
    assert len(read_learning(runner.work_dir)) == 3
    differing = [name for name in plain if not torch.equal(plain[name], watched[name])]
    return differing + ['generators or modes'] * (drawn != drawn_too)


@pytest.mark.parametrize('kind', ['pretraining', 'tokenizer'])
def test_training_does_not_notice(train, kind):
    assert noticed(train, kind) == []


@pytest.mark.parametrize('kind', ['pretraining', 'tokenizer'])
def test_nor_where_it_is_tried_how_many_photos_can_be_looked_at(train, kind, folder):
    """Two epochs, of which looks cost half at most, are looked at three times in any case."""
    hook = dict(HOOK, max_cost=0.5, labels=str(folder / 'val'))
    assert noticed(train, kind, hook) == []


def test_nor_under_autocast_with_accumulated_gradients(train):
    wrapper = dict(OURS, precision='bfloat16', accumulative_counts=3)
    assert noticed(train, 'pretraining', override=dict(optim_wrapper=wrapper)) == []


@pytest.mark.slow
def test_nor_with_compiled_layers_and_seeded_steps(train):
    hooks = dict(
        compile=dict(type='mmbeitv2.CompileHook', device='any', backend='eager'),
        step_seed=dict(type='mmbeitv2.StepSeedHook'),
    )
    assert noticed(train, 'tokenizer', default_hooks=hooks) == []


class TestRecords:
    def test_pretraining(self, train, folder):
        runner = train('pretraining', dict(HOOK, labels=str(folder / 'val')), epochs=2)
        records = read_learning(runner.work_dir)
        assert [r['epoch'] for r in records] == [0, 1, 2]
        assert [r['iter'] for r in records] == [0, 4, 8]
        last = records[-1]
        photos = {name: last['photos'][name] for name in ('held_out', 'training', 'labelled')}
        assert photos == dict(held_out=12, training=12, labelled=12)
        assert last['start'] == 'random'
        m = last['measures']
        assert m['loss_held_out'] == pytest.approx(np.mean(last['by_photo']['loss_held_out']), 1e-4)
        assert m['over_majority'] == pytest.approx(m['acc_held_out'] - m['acc_majority'])
        assert m['over_neighbour'] == pytest.approx(m['acc_held_out'] - m['acc_neighbour'])
        assert 0 < m['attention_entropy_share'] <= 1
        assert 0 < m['prediction_entropy_share'] <= 1
        assert m['prediction_entropy'] == pytest.approx(m['prediction_entropy_share'] * np.log(64))
        assert 1 <= m['rank_cls'] <= 12
        assert m['probe_guess'] == 0.5
        assert {'knn_cls', 'knn_mean', 'ridge_cls', 'ridge_mean'} <= m.keys()
        assert len(last['by_photo']['ridge_mean']) == 12
        # What does not depend on what is learned.
        for name in ('acc_majority', 'acc_neighbour', 'code_perplexity', 'loss_constant'):
            assert {r['measures'][name] for r in records} == {m[name]}

    def test_tokenizer_in_file_log_and_visualizer(self, train, log_of):
        runner = train('tokenizer', HOOK, epochs=2)
        before, first, last = (r['measures'] for r in read_learning(runner.work_dir))
        assert 'codes_changed' not in before
        assert 0 < first['codes_changed'] <= 1
        assert first['usage_epoch'] > 0
        assert last['perplexity_epoch'] > 1
        assert 0 < last['loss_constant'] < 1
        assert last['code_usage'] <= 1
        log = log_of(runner)
        assert 'learning: too early to tell: 12 photos are too few' in log
        assert '(looks have cost ' in log
        (file,) = Path(runner.work_dir).rglob('scalars.json')
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        logged = [line for line in lines if 'learning/loss_held_out' in line]
        assert len(logged) == 3
        assert logged[-1]['learning/code_perplexity'] == last['code_perplexity']

    def test_the_model_itself_says_the_same(self, train):
        """Loss and accuracy of the looks are those of mmengine's validation of the same photos."""
        evaluator = dict(type='mmbeitv2.MaskedCodeMetric')
        runner = train('pretraining', HOOK, override=dict(val_evaluator=evaluator))
        found = read_learning(runner.work_dir)[-1]['measures']
        expected = runner.val_loop.run()
        pairs = dict(held_out='mim', cls_held_out='cls', majority='majority', neighbour='neighbour')
        for ours, theirs in pairs.items():
            assert found[f'acc_{ours}'] == pytest.approx(expected[f'masked_codes/acc_{theirs}'])

    def test_a_killed_run_leaves_whole_lines(self, tmp_path):
        append_record(tmp_path, dict(iter=0, error=float('inf')))
        append_record(tmp_path, dict(iter=5))
        with open(tmp_path / FILE, 'a') as file:
            file.write('{"iter": 1')
        assert read_learning(tmp_path) == [dict(iter=0), dict(iter=5)]

    def test_a_full_disk_is_named(self, tmp_path):
        (tmp_path / FILE).symlink_to('/dev/full')
        with pytest.raises(OSError, match=r'cannot write a look to .*No space left on device'):
            append_record(tmp_path, dict(iter=0))


@pytest.fixture
def few_are_enough(monkeypatch):
    """Verdicts of the few photos that a test can pay for."""
    monkeypatch.setattr(rule, 'LEAST_PHOTOS', 2)


@pytest.mark.usefixtures('few_are_enough')
class TestResume:
    def test_looks_of_steps_made_again_are_replaced(self, train, tmp_path):
        """The uninterrupted run's records, without a second one of any step."""
        resume = dict(type='mmbeitv2.ExactResumeHook')
        hooks = dict(
            exact_resume=resume,
            checkpoint=dict(type='CheckpointHook', interval=1),
            step_seed=dict(type='mmbeitv2.StepSeedHook'),
            sampler_seed=dict(type='DistSamplerSeedHook'),
        )
        whole = read_learning(
            train('tokenizer', HOOK, epochs=3, work_dir='a', default_hooks=hooks).work_dir
        )
        train('tokenizer', HOOK, epochs=2, work_dir='b', default_hooks=hooks)
        again = dict(resume=True, load_from=str(tmp_path / 'b/epoch_1.pth'))
        runner = train('tokenizer', HOOK, epochs=3, work_dir='b', default_hooks=hooks, **again)
        records = read_learning(runner.work_dir)
        assert [r['epoch'] for r in records] == [0, 1, 2, 3]
        assert [r['photos'] for r in records] == [r['photos'] for r in whole]
        assert [r['measures'] for r in records] == [r['measures'] for r in whole]
        assert [r['start'] for r in records][:1] == ['random']

    def test_a_new_run_in_the_same_folder_begins_anew(self, train):
        for _ in range(2):
            runner = train('pretraining', HOOK)
        assert [r['epoch'] for r in read_learning(runner.work_dir)] == [0, 1]

    @pytest.mark.parametrize('kind', ['pretraining', 'tokenizer'])
    @pytest.mark.parametrize('mended', [False, True])
    def test_photos_that_have_become_unreadable_are_other_photos(
        self, train, tmp_path, kind, mended
    ):
        """One that cannot be read any more; or can, where another cannot: as many as before."""
        photos = write_photos(tmp_path / 'photos', 12, seed=1)
        bad, worse = sorted(photos.rglob('*.png'))[:2]
        whole = bad.read_bytes()
        hook = dict(HOOK, photos=str(photos))
        hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
        if mended:
            bad.write_bytes(b'no image')
        train(kind, hook, epochs=2, default_hooks=hooks)
        bad.write_bytes(whole)
        worse.write_bytes(b'no image')
        again = dict(resume=True, load_from=str(tmp_path / 'work/epoch_2.pth'))
        runner = train(kind, hook, epochs=3, default_hooks=hooks, **again)
        records = read_learning(runner.work_dir)
        assert [r['photos']['held_out'] for r in records] == [11 if mended else 12] * 3 + [11]
        assert len({r['photos']['digest'] for r in records}) == 2
        assert records[-1]['verdict']['word'] == TOO_EARLY
        assert 'codes_changed' not in records[-1]['measures']

    def test_photos_that_have_all_become_unreadable_end_it_before_a_step(self, train, tmp_path):
        photos = write_photos(tmp_path / 'photos', 2)
        hook = dict(HOOK, photos=str(photos))
        hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
        train('pretraining', hook, default_hooks=hooks)
        for path in photos.rglob('*.png'):
            path.write_bytes(b'no image')
        steps = _Steps()
        again = dict(resume=True, load_from=str(tmp_path / 'work/epoch_1.pth'))
        with pytest.raises(OSError, match='none of the 2 held-out photos'):
            train('pretraining', hook, steps, epochs=2, default_hooks=hooks, **again)
        assert steps.made == 0


class TestNoLook:
    """The hook ends no training for its own sake."""

    def test_of_what_is_not_finite(self, train, log_of):
        """As after a step that has spoiled the weights, which other hooks name."""
        runner = train('pretraining', HOOK, _Spoil(), epochs=2)
        assert [r['epoch'] for r in read_learning(runner.work_dir)] == [0, 1]
        assert 'learning: no look at epoch 2: cls of held-out photos is' in log_of(runner)

    def test_nor_probes_of_one_labelled_photo_that_can_be_read(self, train, tmp_path):
        labels = write_photos(tmp_path / 'labels', 4)
        for path in sorted(labels.rglob('*.png'))[1:]:
            path.write_bytes(path.read_bytes()[:60])
        runner = train('pretraining', dict(HOOK, labels=str(labels)))
        last = read_learning(runner.work_dir)[-1]
        assert last['photos']['labelled'] == 1
        assert 'knn_mean' not in last['measures']


class TestNoPlace:
    """Looks and their page are said to be lost, once, and training goes on."""

    def test_looks_are_written_once_they_can_be(self, train, log_of):
        hook = _NoPlace(FILE, until=3)
        runner = train('pretraining', HOOK, hook, epochs=4)
        assert [r['epoch'] for r in read_learning(runner.work_dir)] == [0, 1, 2, 3, 4]
        log = log_of(runner)
        assert log.count('learning: cannot write a look to ') == 1
        assert 'Training goes on; looks are written once they can be' in log

    def test_nor_the_page(self, train, log_of):
        page = dict(type='mmbeitv2.LearningPageHook')
        runner = train('pretraining', HOOK, _NoPlace(PAGE, until=9), page, epochs=3)
        assert len(read_learning(runner.work_dir)) == 4
        assert log_of(runner).count('no page of the looks: ') == 1


class TestInterval:
    def test_looks_are_that_many_epochs_apart_beside_first_and_last(self, train):
        runner = train('pretraining', dict(HOOK, interval=3), epochs=4)
        assert [r['epoch'] for r in read_learning(runner.work_dir)] == [0, 1, 3, 4]

    def test_looks_that_cost_too_much_become_rarer_and_say_so(self, train, log_of):
        runner = train('pretraining', dict(HOOK, max_cost=1e-6), epochs=3)
        assert [r['epoch'] for r in read_learning(runner.work_dir)] == [0, 1, 3]
        assert 'so that there is one every 3 epochs (interval=1) to cost no more' in log_of(runner)


@pytest.fixture
def costly(monkeypatch):
    """Looks that seem to take so many seconds a photo, in runs that seem to take a hundred."""
    monkeypatch.setattr(rehearsal, 'LEAST_PHOTOS', 2)

    def costly(seconds):
        times = Times(photo=seconds, once=0.0, training=100.0)
        monkeypatch.setattr(rehearsal, 'rehearse', lambda *_: times)

    return costly


class TestCost:
    """The photos are settled once, before the first look."""

    def test_looks_are_at_as_many_photos_as_the_run_can_pay_for(
        self, train, costly, folder, log_of
    ):
        costly(0.25)
        hook = dict(HOOK, max_cost=0.05, labels=str(folder / 'val'))
        runner = train('pretraining', hook, epochs=2)
        records = read_learning(runner.work_dir)
        # 100 · 5 / 95 s for three looks.
        assert {r['chosen'] for r in records} == {7}
        kept = [{n: r['photos'][n] for n in ('held_out', 'training', 'labelled')} for r in records]
        assert kept == [dict(held_out=7, training=7, labelled=6)] * 3
        assert len({r['photos']['digest'] for r in records}) == 1
        assert 'looks are at 7 of 12 held-out photos, to cost no more than 5%' in log_of(runner)
        assert 'above max_cost' not in log_of(runner)

    def test_a_resumed_run_looks_at_the_same(self, train, costly, tmp_path):
        costly(0.25)
        hook = dict(HOOK, max_cost=0.05)
        hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
        train('tokenizer', hook, epochs=2, default_hooks=hooks)
        costly(1e-6)
        again = dict(resume=True, load_from=str(tmp_path / 'work/epoch_2.pth'))
        runner = train('tokenizer', hook, epochs=3, default_hooks=hooks, **again)
        photos = [r['photos'] for r in read_learning(runner.work_dir)]
        assert photos == [dict(photos[0], held_out=7)] * 4

    def test_what_the_fewest_cost_is_said(self, train, costly, log_of):
        costly(50)
        runner = train('pretraining', dict(HOOK, max_cost=0.05), epochs=1)
        assert read_learning(runner.work_dir)[0]['photos']['held_out'] == 2
        assert 'looks will take about 67% of this run, above max_cost=5%' in log_of(runner)

    def test_a_step_and_a_look_take_their_time(self, train, monkeypatch):
        """Measured, not given: all that is known of them is that they take some."""
        seen = []
        measured = rehearsal.photos_that_fit

        def remember(times, *rest):
            seen.append(times)
            return measured(times, *rest)

        monkeypatch.setattr(rehearsal, 'photos_that_fit', remember)
        train('pretraining', dict(HOOK, max_cost=0.05))
        (times,) = seen
        assert times.photo > 0
        assert times.once > 0
        assert times.training > 0

    def test_without_a_sample_that_can_be_read_all_are_looked_at(self, train, tmp_path):
        photos = write_photos(tmp_path / 'photos', 40, seed=1)
        held_out = held_out_photos(photos, None, 40)
        for name in held_out.some(rehearsal.FEW).names():
            Path(name).write_bytes(b'no image')
        runner = train('pretraining', dict(HOOK, max_cost=1e-6, photos=str(photos)))
        assert read_learning(runner.work_dir)[0]['photos']['held_out'] == 40 - rehearsal.FEW


class TestPhotos:
    def test_another_photo_of_the_same_name_is_another(self, train, tmp_path):
        """Looks at both cannot be paired, whatever their names."""
        photos = write_photos(tmp_path / 'photos', 12, seed=1)
        hook = dict(HOOK, photos=str(photos))
        hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
        train('tokenizer', hook, epochs=1, default_hooks=hooks)
        replaced = sorted(photos.rglob('*.png'))[3]
        replaced.write_bytes(sorted((tmp_path / 'photos').rglob('*.png'))[8].read_bytes())
        again = dict(resume=True, load_from=str(tmp_path / 'work/epoch_1.pth'))
        runner = train('tokenizer', hook, epochs=2, default_hooks=hooks, **again)
        digests = [r['photos']['digest'] for r in read_learning(runner.work_dir)]
        assert digests[0] == digests[1] != digests[2]
        assert 'codes_changed' not in read_learning(runner.work_dir)[-1]['measures']

    def test_unreadable_ones_are_left_out(self, train, tmp_path, log_of):
        photos = write_photos(tmp_path / 'photos', 10)
        (photos / 'class_0/0.png').write_bytes(b'no image')
        runner = train('pretraining', dict(HOOK, photos=str(photos)))
        assert 'photos of the looks cannot be read and are left out' in log_of(runner)
        assert len(read_learning(runner.work_dir)[-1]['by_photo']['loss_held_out']) == 9

    def test_held_out_photos_that_are_trained_on_are_named(self, train, folder, log_of):
        runner = train('pretraining', dict(HOOK, photos=str(folder / 'train'), max_photos=5))
        assert read_learning(runner.work_dir)[0]['photos']['held_out'] == 5
        assert '5 of the 5 held-out photos are trained on' in log_of(runner)


class TestRefused:
    @pytest.mark.parametrize(
        ('option', 'message'),
        [
            (dict(interval=0), 'interval of LearningHook is 0, allowed: 1 or more'),
            (dict(max_photos=1.5), 'max_photos of LearningHook is 1.5'),
            (dict(max_cost=0), 'max_cost of LearningHook is 0, allowed: a share above 0'),
        ],
    )
    def test_wrong_options_by_name(self, option, message):
        with pytest.raises(ValueError, match=message):
            LearningHook(**option)

    @pytest.mark.parametrize(
        ('source', 'message'),
        [
            (lambda path: held_out_photos(path, None, 9), 'no photos at nowhere'),
            (lambda path: labelled_photos(path, 9), 'no labels at nowhere'),
        ],
    )
    def test_a_folder_that_is_not_there(self, source, message):
        with pytest.raises(FileNotFoundError, match=message):
            source('nowhere')

    def test_one_class(self, tmp_path):
        labels = write_photos(tmp_path / 'labels', 4, classes=1)
        with pytest.raises(ValueError, match='1 classes of 2 photos or more, allowed: 2'):
            labelled_photos(labels, 9)

    def test_no_held_out_photos(self, train):
        nothing = dict(val_dataloader=None, val_cfg=None, val_evaluator=None)
        with pytest.raises(ValueError, match='needs photos that are not trained on'):
            train('pretraining', HOOK, override=nothing)

    def test_photos_that_cannot_be_read_at_all(self, train, tmp_path):
        (tmp_path / 'bad').mkdir()
        (tmp_path / 'bad/0.png').write_bytes(b'no image')
        with pytest.raises(OSError, match=r'none of the 1 held-out photos .*0\.png'):
            train('pretraining', dict(HOOK, photos=str(tmp_path / 'bad')))

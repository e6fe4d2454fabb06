"""The demo's ablations: what a variant changes, which runs are left, what the table says."""

import json
from pathlib import Path

import pytest
import torch

import mmbeitv2
from mmbeitv2.errors import UserError
from mmbeitv2.evaluation.few_shot import ridge_probe
from mmbeitv2.launch.config import load_config
from mmbeitv2.registry import MODELS

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]
# Keys of the config that are not the base's, by variant.
CHANGED = {
    'no-aggregation': {'model.neck'},
    'low-level': {'model.target_generator.init_cfg.checkpoint', 'tokenizer_checkpoint'},
    'separate-head': {'model.neck.shared_norm', 'model.head.shared'},
    'layer-2': {'model.neck.layer'},
    'layer-5': {'model.neck.layer'},
}


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    """Tools find their neighbours, and configs by their paths, as when they are run."""
    monkeypatch.syspath_prepend(ROOT / 'tools')
    monkeypatch.chdir(ROOT)


@pytest.fixture
def claims():
    import demo_claims

    return demo_claims


@pytest.fixture
def runs():
    import ablation_runs

    return ablation_runs


@pytest.fixture
def records():
    import ablation_record

    return ablation_record


@pytest.fixture
def tables():
    import ablation_table

    return ablation_table


@pytest.fixture
def tool():
    import demo_ablations

    return demo_ablations


@pytest.fixture
def make(records):
    """A finished run, as the record has it; figures as given, others 0.5."""
    from demo_claims import MEASURES

    def make(variant, seed, **figures):
        return records.Run(
            variant=variant,
            seed=seed,
            figures=dict.fromkeys(MEASURES, 0.5) | figures,
            digest='0' * 12,
            commits=['a' * 40],
            changed=[],
            date=f'2026-12-0{seed + 1}',
            machine='a CPU',
            torch='2.14.1',
            precision='bfloat16',
            minutes=4.0,
        )

    return make


@pytest.fixture
def record_of(records, make):
    """Record of pairs of one claim with these figures of the base and of the variant."""

    def record_of(claim, base, variant, max_seeds=12):
        made = [make('base', i, ridge_cls=x) for i, x in enumerate(base)]
        made += [make(claim, i, ridge_cls=x) for i, x in enumerate(variant)]
        return records.Record(max_seeds, made)

    return record_of


def differing(one, other, path=()):
    """Dotted paths of what two configs do not share."""
    if isinstance(one, dict) and isinstance(other, dict):
        pairs = {key: (one.get(key), other.get(key)) for key in one.keys() | other.keys()}
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        pairs = dict(enumerate(zip(one, other)))
    else:
        return set() if one == other else {'.'.join(map(str, path))}
    return {p for key, pair in pairs.items() for p in differing(*pair, (*path, key))}


class TestVariants:
    @pytest.mark.parametrize('variant', CHANGED)
    def test_one_thing_is_changed(self, claims, runs, variant):
        base, changed = (
            load_config(runs.path_of(claims.VARIANTS[v].config)).to_dict()
            for v in ('base', variant)
        )
        assert differing(base, changed) == CHANGED[variant]

    def test_random_masks_are_as_many_patches(self, claims, runs):
        base, changed = (
            load_config(runs.path_of(claims.VARIANTS[v].config)).to_dict()
            for v in ('base', 'random-mask')
        )
        paths = differing(base, changed)
        assert {path.split('.')[-1] for path in paths} >= {'type', 'min_block'}
        assert {path.split('.')[0] for path in paths} == {
            'random_mask',
            *(f'{split}_pipeline' for split in ('train', 'val')),
            *(f'{split}_dataloader' for split in ('train', 'val', 'test')),
        }
        assert changed['random_mask']['num_masked'] == base['block_mask']['num_masked']

    def test_teachers_differ_in_their_layer(self, claims, runs):
        tokenizers = [claims.VARIANTS[v].tokenizer for v in ('base', 'low-level')]
        base, changed = (load_config(runs.path_of(name)).to_dict() for name in tokenizers)
        assert differing(base, changed) == {'model.teacher.out_index'}

    def test_claims_name_the_layers_of_the_configs(self, claims, runs):
        layers = {
            name: load_config(runs.path_of(claims.VARIANTS[name].config)).model.neck.layer
            for name in ('base', 'layer-2', 'layer-5')
        }
        for name in ('layer-2', 'layer-5'):
            assert claims.CLAIMS[name].text == f'l = {layers["base"]} against l = {layers[name]}'

    def test_every_claim_has_a_variant_and_measures(self, claims):
        assert set(claims.CLAIMS) == set(claims.VARIANTS) - {'base'}
        assert {m for c in claims.CLAIMS.values() for m in c.measures} == set(claims.MEASURES)


@pytest.fixture
def place(runs, demo_data, tmp_path):
    """A place with an untrained tokenizer for seeds 0 and 1."""
    place = runs.Place(tmp_path, demo_data)
    model = load_config('configs/demo/beitv2_demo.py').model
    tokenizer = MODELS.build({**model.target_generator, 'init_cfg': None})
    torch.save(dict(state_dict=tokenizer.state_dict()), tmp_path / 'tokenizer.pth')
    for seed in range(2):
        folder = place.tokenizer_folder('base', seed)
        folder.mkdir(parents=True)
        (folder / 'last_checkpoint').write_text(str(tmp_path / 'tokenizer.pth'))
    return place


class TestPairing:
    def test_a_pair_starts_from_the_same_weights_and_another_seed_from_others(self, runs, place):
        base, other = (runs.first_weights('base', seed, place) for seed in range(2))
        assert len([name for name in base if name.startswith(runs.SHARED)]) > 60
        changed = runs.first_weights('no-aggregation', 0, place)
        for name in changed:
            assert not name.startswith(runs.SHARED) or torch.equal(base[name], changed[name]), name
        name = 'backbone.blocks.0.attn.qkv.weight'
        assert not torch.equal(base[name], other[name])

    def test_jobs_of_a_pair_share_seed_and_tokenizer(self, runs, place):
        jobs = [runs.pretraining_job(v, 1, place) for v in ('base', 'no-aggregation')]
        options = [{o for o in job.options if not o.startswith('load_from')} for job in jobs]
        assert options[0] == options[1]
        assert 'randomness.seed=1' in options[0]
        assert jobs[0].work_dir != jobs[1].work_dir

    def test_another_config_has_another_folder_and_digest(self, runs, place):
        shorter = runs.Place(place.work_dir, place.data, ('train_cfg.max_epochs=1',))
        assert shorter.folder('base', 0) != place.folder('base', 0)
        assert place.variant_digest('layer-2') != place.variant_digest('layer-5')

    def test_without_photos_the_command_that_makes_them_is_named(self, runs, tmp_path):
        with pytest.raises(FileNotFoundError, match=r'quickstart\.sh data'):
            runs.Place(tmp_path, tmp_path / 'nothing').variant_digest('base')


class TestFigures:
    @pytest.fixture
    def figures(self):
        import ablation_figures

        return ablation_figures

    def test_ridge_probe_learns_on_the_training_photos_alone(self, figures, beitv2, demo_data):
        found = figures.ridge_figures(beitv2.eval(), demo_data)
        parts = [figures.photos_of(demo_data / 'imagenet' / s) for s in ('train', 'val')]
        features = [figures.features_of(beitv2, photos)['cls'] for photos in parts]
        labels = [torch.tensor(figures.labels_of(photos)) for photos in parts]
        right = ridge_probe(features[0], labels[0], features[1]) == labels[1]
        by_class = [right[labels[1] == c].double().mean() for c in range(8)]
        assert found['ridge_cls'] == pytest.approx(torch.stack(by_class).mean().item())

    def test_five_labels_ask_two_questions(self, figures, beitv2, demo_data):
        found = figures.five_label_figures(beitv2.eval(), demo_data)
        assert set(found) == {
            f'five_labels{question}_{name}'
            for question in ('', '_other_things')
            for name in ('cls', 'avg')
        }
        assert all(0 <= value <= 1 for value in found.values())


class TestPlan:
    def test_seeds_are_gone_through_one_by_one(self, claims):
        left = claims.remaining({}, ['layer-2', 'layer-5'], most=12)
        assert left[:4] == [('base', 0), ('layer-2', 0), ('layer-5', 0), ('base', 1)]
        assert len(left) == 9

    @pytest.mark.parametrize(
        ('differences', 'most', 'pairs'),
        [
            # The standard deviation is as large as the smallest difference: 10 pairs, see
            # tests/evaluation/test_paired.py.
            ([0.0, 0.02, 0.04], 12, 10),
            ([0.0, 0.02, 0.04], 7, 7),
            ([0.01, 0.01, 0.01], 12, 3),
            ([0.0, 0.02, 0.04], 2, 2),
            ([0.0, 0.02], 12, 3),
        ],
    )
    def test_the_first_three_pairs_decide_how_many_there_are(
        self, claims, record_of, differences, most, pairs
    ):
        record = record_of('layer-2', [0.3 + d for d in differences], [0.3] * len(differences))
        assert claims.planned_pairs(record.figures, 'layer-2', most) == pairs

    def test_later_pairs_do_not_change_the_plan(self, claims, record_of):
        record = record_of('layer-2', [0.3, 0.32, 0.34, 0.9], [0.3] * 4)
        assert claims.planned_pairs(record.figures, 'layer-2', 12) == 10

    def test_what_is_done_is_not_left(self, claims, record_of):
        record = record_of('layer-2', [0.31, 0.31, 0.31], [0.3, 0.3])
        assert claims.remaining(record.figures, ['layer-2'], 12) == [('layer-2', 2)]

    def test_a_claim_that_needs_more_pairs_does_not_make_others_run_on(self, claims, record_of):
        record = record_of('layer-2', [0.3, 0.32, 0.34], [0.3] * 3)
        certain = record_of('layer-5', [], [0.3, 0.32, 0.34])
        figures = record.figures | certain.figures
        left = claims.remaining(figures, ['layer-2', 'layer-5'], 12)
        assert left == [(v, s) for s in range(3, 10) for v in ('base', 'layer-2')]


class TestWork:
    def test_a_stopped_tool_goes_on_where_it_stopped(self, tool, records, make, tmp_path):
        path, made = tmp_path / 'record.json', []

        def run(variant, seed):
            if len(made) == 3:
                made.append('stopped')
                raise KeyboardInterrupt
            made.append((variant, seed))
            return make(variant, seed)

        with pytest.raises(KeyboardInterrupt):
            tool.work_through(records.read_record(path, 12), ['layer-2'], path, run)
        kept = records.read_record(path, 5)
        assert [(r.variant, r.seed) for r in kept.runs] == made[:3]
        assert kept.max_seeds == 12
        tool.work_through(kept, ['layer-2'], path, run)
        assert made[4:] == [('layer-2', 1), ('base', 2), ('layer-2', 2)]
        assert len(records.read_record(path, 12).runs) == 6
        assert [p.name for p in tmp_path.iterdir()] == ['record.json']

    def test_what_is_left_is_told_with_hours(self, tool, record_of):
        record = record_of('layer-2', [0.31, 0.31], [0.3])
        said = tool.what_is_left(record, ['layer-2'])
        assert said.startswith('Left to run: 3, about 0.2 hours (as long as the runs so far): ')
        assert said.endswith('layer-2 1, base 2, layer-2 2')

    def test_runs_of_another_config_are_not_compared(self, record_of, tmp_path):
        record = record_of('layer-2', [0.3], [0.3])
        record.check_digest('base', '0' * 12, tmp_path)
        with pytest.raises(
            UserError, match=r'has seed 0 of .*layer-2\.py as .* move the file away'
        ):
            record.check_digest('layer-2', '1' * 12, tmp_path)

    def test_a_broken_record_is_named(self, records, tmp_path):
        (tmp_path / 'record.json').write_text('{"runs": [{"variant": 1}]}')
        with pytest.raises(UserError, match=r'record\.json is no record of ablations'):
            records.read_record(tmp_path / 'record.json', 12)

    def test_other_options_need_a_record_of_their_own(self, tool):
        with pytest.raises(UserError, match='give another file by --record'):
            tool.main(['--cfg-options', 'train_cfg.max_epochs=1'])

    @pytest.mark.parametrize('argument', [('--max-seeds', '0'), ('--claims', 'magic')])
    def test_wrong_arguments_name_what_is_allowed(self, tool, argument, capsys):
        with pytest.raises(SystemExit, match='2'):
            tool.parse_args(list(argument))
        assert argument[0] in capsys.readouterr().err.splitlines()[-1]


def row_of(text, claim):
    return next(line for line in text.splitlines() if line.startswith(f'| {claim}'))


class TestTable:
    def test_docs_hold_the_table_of_the_record(self, tool, records, tables):
        record = records.read_record(ROOT / tool.RECORD, tool.MAX_SEEDS)
        page = (ROOT / 'docs/experiments.md').read_text()
        assert f'{tables.BEGIN}\n{tables.table(record)}\n{tables.END}' in page

    def test_nothing_is_said_of_what_has_not_run(self, claims, records, tables):
        lines = tables.table(records.Record(12)).splitlines()
        measured = sum(len(claim.measures) for claim in claims.CLAIMS.values())
        assert [line.endswith('| – | – | – | – | – | not run yet |') for line in lines].count(
            True
        ) == measured
        assert lines[-1] == 'No run has been made yet.'

    @pytest.mark.parametrize(
        ('base', 'cells'),
        [
            ([0.35, 0.351, 0.352], '35.1 % | 30.0 % | +5.1 [4.9, 5.3] | 3 | 100 % | **shown** |'),
            ([0.25, 0.251, 0.252], '−4.9 [−5.1, −4.7] | 3 | 100 % | **the other way** |'),
        ],
    )
    def test_a_verdict_is_told_with_its_interval(self, tables, record_of, base, cells):
        text = tables.table(record_of('layer-2', base, [0.3] * 3))
        assert row_of(text, 'l = 4 against l = 2').endswith(cells)

    def test_no_verdict_before_the_planned_number(self, tables, record_of):
        base = [0.3, 0.32, 0.34]
        few = tables.table(record_of('layer-2', base, [0.3] * 3))
        assert '| 3 of 10 |' in row_of(few, 'l = 4 against l = 2')
        assert row_of(few, 'l = 4 against l = 2').endswith('| running |')
        no_more = tables.table(record_of('layer-2', base, [0.3] * 3, max_seeds=3))
        assert row_of(no_more, 'l = 4 against l = 2').endswith('| **not shown at this size** |')

    def test_a_single_pair_has_no_interval(self, tables, record_of):
        text = tables.table(record_of('layer-2', [0.3], [0.3]))
        assert '| – | 1 of 3 | – | running |' in row_of(text, 'l = 4 against l = 2')

    def test_origin_of_the_runs_is_told(self, tables, record_of):
        text = tables.origin(record_of('layer-2', [0.3, 0.3], [0.3]))
        assert text == (
            '3 runs, 2026-12-01 to 2026-12-02, on a CPU, bfloat16, torch 2.14.1, commits '
            'aaaaaaaaaa; 0.2 hours.'
        )

    def test_a_single_day_is_named_once(self, tables, record_of):
        text = tables.origin(record_of('layer-2', [0.3], [0.3]))
        assert text.startswith('2 runs, 2026-12-01, on a CPU')

    def test_table_is_written_into_a_page(self, tool, records, tables, record_of, tmp_path):
        page, path = tmp_path / 'page.md', tmp_path / 'record.json'
        page.write_text(f'before\n{tables.BEGIN}\nold\n{tables.END}\nafter\n')
        record = record_of('layer-2', [0.35, 0.351, 0.352], [0.3] * 3)
        records.write_record(record, path)
        tool.main(['--record', str(path), '--table', str(page)])
        expected = f'before\n{tables.BEGIN}\n{tables.table(record)}\n{tables.END}\nafter\n'
        assert page.read_text() == expected


@pytest.mark.slow
def test_a_real_pair_from_the_command_line(tool, records, demo_data, tmp_path, capsys):
    """Tokenizer, base and variant of four steps each, in two processes, as a user starts them."""
    path, cfg = tmp_path / 'record.json', dict(max_epochs=1, batch_size=8)
    options = [f'train_cfg.max_epochs={cfg["max_epochs"]}']
    options += [f'train_dataloader.batch_size={cfg["batch_size"]}']
    options += [
        f'{loader}_dataloader.dataset.data_root={demo_data}/imagenet'
        for loader in ('train', 'val', 'test')
    ]
    arguments = ['--claims', 'no-aggregation', '--max-seeds', '1', '--record', str(path)]
    arguments += ['--work-dir', str(tmp_path / 'work'), '--data', str(demo_data)]
    arguments += ['--cfg-options', *options]
    tool.main(arguments)
    base, variant = records.read_record(path, 1).runs
    assert (base.variant, variant.variant) == ('base', 'no-aggregation')
    assert set(base.figures) - set(variant.figures) == {'acc_cls'}
    assert base.torch == torch.__version__.split('+')[0]
    assert base.minutes > 0
    assert '| 1 of 1 | – | too few pairs |' in capsys.readouterr().out
    first = [json.loads(p.read_text()) for p in sorted(tmp_path.glob('work/*/seed0/*/run.json'))]
    assert len(first) == 3
    tool.main(arguments)
    assert len(sorted(tmp_path.glob('work/*/seed0/*/run.json'))) == 3

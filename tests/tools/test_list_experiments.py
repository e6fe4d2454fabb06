"""The table of experiments says what the configs' docstrings say."""

import ast
import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools/list_experiments.py'))


def test_every_experiment_names_its_tables_and_what_is_published(tool):
    for row in tool['experiments']():
        assert row.recipe, row.config
        assert row.results, row.config
        assert row.published, row.config
        # Tables 8 to 11 of the paper are recipes, 1 to 7 results.
        assert set(re.findall(r'Table (\d+)', row.recipe)) <= {'8', '9', '10', '11'}, row.config
        assert set(re.findall(r'Table (\d+)', row.results)) <= set('1234567'), row.config


def test_every_published_number_names_its_source(tool):
    source = re.compile(
        r"Table \d|the paper|text of|official (README|logs?|release)|quoted|timm's results"
    )
    for row in tool['experiments']():
        for claim in row.published.split(';'):
            if re.search(r'\d+\.\d| %', claim):
                named = re.findall(r'\(([^)]*)\)', claim)
                assert any(map(source.search, named)), (row.config, claim)


def test_every_experiment_says_what_it_costs_or_that_nobody_knows(tool):
    performance = (ROOT / 'docs/performance.md').read_text()
    for row in tool['experiments']():
        for cost in (row.time, row.memory, row.final_loss):
            assert cost, row.config
            if cost.startswith('none, nothing is trained') or cost == 'unknown':
                continue
            # What is known was measured, on a machine and a day, and stands in the page of figures.
            assert 'measured on one H200 (2026-11-26' in cost, (row.config, cost)
            for figure in re.findall(r'\d[\d,.]*(?= (?:GB|hours|images/s))', cost):
                assert figure in performance, (row.config, figure)


def test_the_demos_stages_say_what_they_cost_too(tool):
    # Configs that vary one of these cost what it costs.
    for stage in ('vqkd', 'beitv2', 'finetune', 'linear_probe', 'upernet'):
        said = ast.get_docstring(ast.parse((ROOT / f'configs/demo/{stage}_demo.py').read_text()))
        time, memory, loss = (tool['_field'](said, n) for n in ('Time', 'Memory', 'Final loss'))
        assert re.match(r'[\d.]+ minutes, measured on .+ \(20\d\d-\d\d-\d\d, ', time), stage
        assert memory == 'unknown'
        assert re.match(r'[\d.]+ .*measured there', loss), stage


def test_measured_costs_are_read(tool):
    (row,) = (r for r in tool['experiments']() if r.config == 'beitv2_vit-b16_300e.py')
    assert row.memory.startswith('22.9 GB, measured')
    assert '2,043 to 2,071 images/s' in row.time
    assert row.final_loss == 'unknown'


def test_every_experiment_says_how_to_start_it(tool):
    for row in tool['experiments']():
        assert f'configs/{row.config}' in (ROOT / 'configs' / row.config).read_text(), row.config


def test_page_holds_the_table(tool):
    page = (ROOT / 'docs/experiments.md').read_text()
    assert tool['table'](list(tool['experiments']())) in page


def test_fields_are_read_over_several_lines(tool, tmp_path):
    (tmp_path / 'run.py').write_text(
        '"""A run.\n\nRecipe: Table 9.\nResults: Table 1,\nrow 2.\nPublished: 80.1.\n'
        'Measured: 80.0 ± 0.1.\n\nTime: 3\nhours.\nMemory: unknown.\nFinal loss: 2.1.\n"""\n'
    )
    (row,) = tool['experiments'](tmp_path)
    paper = ('Table 9', 'Table 1, row 2', '80.1')
    assert row == ('run.py', *paper, '80.0 ± 0.1', '3 hours', 'unknown', '2.1')


def test_config_without_a_docstring_is_an_error(tool, tmp_path):
    (tmp_path / 'run.py').write_text('x = 1\n')
    with pytest.raises(ValueError, match=r'run\.py has no docstring'):
        list(tool['experiments'](tmp_path))


def test_page_without_a_place_is_an_error(tool, tmp_path):
    (tmp_path / 'page.md').write_text('# Experiments\n')
    with pytest.raises(ValueError, match='has no place for the table'):
        tool['update'](tmp_path / 'page.md', '|')

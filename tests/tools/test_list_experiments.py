"""The table of experiments says what the configs' docstrings say."""

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def tool():
    return runpy.run_path(str(ROOT / 'tools/list_experiments.py'))


def test_every_experiment_names_its_table_and_what_is_published(tool):
    rows = list(tool['experiments']())
    assert [r.config for r in rows if not (r.paper and r.published)] == []


def test_every_experiment_says_how_to_start_it(tool):
    for row in tool['experiments']():
        assert f'configs/{row.config}' in (ROOT / 'configs' / row.config).read_text(), row.config


def test_page_holds_the_table(tool):
    page = (ROOT / 'docs/experiments.md').read_text()
    assert tool['table'](list(tool['experiments']())) in page


def test_fields_are_read_over_several_lines(tool, tmp_path):
    (tmp_path / 'run.py').write_text(
        '"""A run.\n\nPaper: Table 1,\nrow 2.\nPublished: 80.1.\nMeasured: 80.0 ± 0.1.\n"""\n'
    )
    (row,) = tool['experiments'](tmp_path)
    assert row == ('run.py', 'Table 1, row 2', '80.1', '80.0 ± 0.1')


def test_config_without_a_docstring_is_an_error(tool, tmp_path):
    (tmp_path / 'run.py').write_text('x = 1\n')
    with pytest.raises(ValueError, match=r'run\.py has no docstring'):
        list(tool['experiments'](tmp_path))


def test_page_without_a_place_is_an_error(tool, tmp_path):
    (tmp_path / 'page.md').write_text('# Experiments\n')
    with pytest.raises(ValueError, match='has no place for the table'):
        tool['update'](tmp_path / 'page.md', '|')

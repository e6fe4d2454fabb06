"""The notebook runs from a fresh checkout, without the network and without a trained model."""

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / 'docs' / 'first_look.ipynb'


def read():
    return nbformat.read(NOTEBOOK, as_version=4)


def outputs(notebook, kind):
    """Outputs of cells that have this kind of data, as text or base64."""
    found = [output for cell in notebook.cells for output in cell.get('outputs', ())]
    return [output.data[kind] for output in found if kind in output.get('data', ())]


@pytest.fixture(scope='module')
def executed():
    notebook = read()
    NotebookClient(
        notebook,
        timeout=300,
        kernel_name='python3',
        resources={'metadata': {'path': str(NOTEBOOK.parent)}},
    ).execute()
    return notebook


def said(notebook):
    """What the cells printed."""
    cells = [output for cell in notebook.cells for output in cell.get('outputs', ())]
    return ''.join(output.text for output in cells if output.output_type == 'stream')


def test_the_tokenizer_learns_and_uses_several_codes(executed):
    first, last = map(
        float, re.search(r'teacher: ([\d.]+) at first, ([\d.]+) after', said(executed)).groups()
    )
    assert last < 0.8 * first
    used, codes = map(int, re.search(r'(\d+) of (\d+) codes occur', said(executed)).groups())
    assert 4 <= used <= codes == 32


def test_every_picture_is_drawn(executed):
    # Photos, codes, likeness, attention.
    assert len(outputs(executed, 'image/png')) == 4
    assert 'sum to at most 1: True' in said(executed)


def test_features_and_losses_are_those_of_two_photos(executed):
    texts = outputs(executed, 'text/plain')
    assert "{'cls_token': (2, 128), 'patch_tokens': (2, 64, 128)}" in texts
    losses = re.search(r"'loss_mim': ([\d.]+).*'loss_cls': ([\d.]+)", texts[-1]).groups()
    # Of 32 codes, from random weights: about log 32.
    assert all(3 < float(loss) < 5 for loss in losses)


def test_the_notebook_is_kept_without_outputs_and_small():
    notebook = read()
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == 'code']
    assert len(code) >= 8
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert NOTEBOOK.stat().st_size < 20_000


def test_links_of_the_notebook_lead_to_pages():
    text = '\n'.join(cell.source for cell in read().cells if cell.cell_type == 'markdown')
    pages = re.findall(r'\]\((\w+\.md)\)', text)
    assert len(pages) == 3
    assert all((NOTEBOOK.parent / page).is_file() for page in pages)

"""The index of models is what mim, mmengine and mmpretrain read, and says what the configs say."""

import re
import runpy
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from mmpretrain.apis import ModelHub, list_models
from modelindex.load_model_index import load

ROOT = Path(__file__).parents[2]
INDEX = ROOT / 'model-index.yml'
HASH = re.compile(r'-[0-9a-f]{8}\.pth$')


@pytest.fixture(scope='module')
def entries():
    """Every model of every metafile, as it is written."""
    imports = yaml.safe_load(INDEX.read_text())['Import']
    return [
        model for path in imports for model in yaml.safe_load((ROOT / path).read_text())['Models']
    ]


@pytest.fixture(scope='module')
def experiments():
    """Rows of the table of experiments, by config."""
    tool = runpy.run_path(str(ROOT / 'tools/list_experiments.py'))
    return {f'configs/{row.config}': row for row in tool['experiments']()}


@pytest.fixture(scope='module')
def hub():
    """mmpretrain's own hub, to which the index has been shown as the page says."""
    page = (ROOT / 'docs/openmmlab.md').read_text()
    (block,) = re.findall(r'```python\n((?:(?!```).)*register_model_index.*?)```', page, re.S)
    exec(block, {})
    return ModelHub


def metrics(model):
    """Name, value and source of each number of an entry."""
    for result in model['Results']:
        for name, value in result['Metrics'].items():
            yield name, value, result.get('Source')


def test_every_metafile_is_in_the_index():
    imports = yaml.safe_load(INDEX.read_text())['Import']
    found = {str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('metafile.yml')}
    assert sorted(imports) == sorted(found)


def test_every_recipe_is_named_exactly_once(entries, experiments):
    named = [model['Config'] for model in entries]
    assert sorted(named) == sorted(experiments)
    assert all(model['Name'] == Path(model['Config']).stem for model in entries)
    assert len({model['Name'] for model in entries}) == len(entries)


def test_the_reference_reader_finds_no_fault():
    index = load(str(INDEX))
    index.build_models_with_collections()
    index.check(silent=True)
    assert not index.check_errors
    for model in index.models:
        model.check(silent=True)
        assert not model.check_errors, (model.name, model.check_errors)
        assert model.full_model.paper['URL'] == 'https://arxiv.org/abs/2208.06366'


def test_every_number_has_a_source_and_is_the_configs(entries, experiments):
    for model in entries:
        published = experiments[model['Config']].published
        numbers = [float(number) for number in re.findall(r'\d+(?:\.\d+)?', published)]
        for name, value, source in metrics(model):
            assert source, (model['Name'], name)
            assert value in numbers, (model['Name'], name, value)


def test_every_published_number_of_a_result_is_in_the_index(entries, experiments):
    # Of another tokenizer or start: the entry of that config has it.
    elsewhere = re.compile('DINO|from 1600 epochs')
    for model in entries:
        if model['Results']:
            clauses = experiments[model['Config']].published.split(';')
            own = ';'.join(clause for clause in clauses if not elsewhere.search(clause))
            numbers = {float(number) for number in re.findall(r'\d+\.\d+', own)}
            assert numbers <= {value for _, value, _ in metrics(model)}, model['Name']


@pytest.mark.parametrize('folder', ['', 'ablation', 'finetune', 'linear_probe', 'vqkd'])
def test_epochs_and_batch_are_the_configs(entries, folder):
    for model in entries:
        if Path(model['Config']).parent == Path('configs', folder):
            cfg = Config.fromfile(ROOT / model['Config'])
            assert model['Metadata']['Epochs'] == cfg.train_cfg.max_epochs, model['Name']
            batch = cfg.auto_scale_lr.base_batch_size
            assert model['Metadata']['Batch Size'] == batch, model['Name']


def test_weights_are_addressed_and_say_whose_they_are(entries):
    for model in entries:
        assert ('Weights' in model) == ('Weights From' in model), model['Name']
        others = model.get('Other Weights', [])
        assert all({'From', 'Weights'} <= other.keys() for other in others)
        for address in [model.get('Weights'), *(other['Weights'] for other in others)]:
            assert address is None or re.match(r'(https://\S+\.pth|hf-hub:timm/\S+)$', address)


def test_tokenizers_are_published_with_a_hash(entries):
    tokenizers = [m['Weights'] for m in entries if m['Config'].startswith('configs/vqkd/')]
    assert len(tokenizers) == 3
    assert all(HASH.search(address) for address in tokenizers)


def test_what_follows_a_model_is_in_the_index(entries):
    names = {model['Name'] for model in entries}
    for model in entries:
        assert set(model.get('Downstream', ())) <= names, model['Name']


def test_mmpretrain_lists_them_and_gives_the_config(hub, entries):
    assert {model['Name'] for model in entries} <= set(list_models())
    found = hub.get('beitv2_vit-b16_300e')
    assert found.config.model.type == 'mmbeitv2.BEiTV2'
    assert found.weights.endswith('beitv2_base_patch16_224_pt1k_300e.pth')
    assert 'beitv2_vit-b16_1600e_in1k-224' in list_models('beitv2_vit-b16*')

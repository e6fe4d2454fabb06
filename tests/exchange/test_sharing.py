"""What is uploaded comes back from the hub and computes the same, in each layout."""

import json
import re
import runpy
import tempfile
from pathlib import Path

import huggingface_hub.constants as constants
import pytest
import timm
import torch
from hub_server import hub_server
from torch.testing import assert_close

from mmbeitv2.apis import extract_features, load_tokenizer, tokenize
from mmbeitv2.checkpoints.catalogue import catalogue
from mmbeitv2.checkpoints.published_files import MIRROR
from mmbeitv2.checkpoints.translation import open_checkpoint
from mmbeitv2.errors import ExistingFileError, InputError, MissingFileError
from mmbeitv2.exchange.exporting import export
from mmbeitv2.exchange.sharing import push_to_hub, save_pretrained
from mmbeitv2.models import BEiTV2

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in of the hub, a cache and a token of the test's own."""
    with hub_server() as running:
        monkeypatch.setattr(constants, 'ENDPOINT', running.address)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
        template = running.address + '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        monkeypatch.setenv('HF_TOKEN', 'hf_of_a_test')
        yield running


@pytest.fixture
def file(classifier, tmp_path):
    """A classifier's checkpoint, and the model itself."""
    model, state = classifier
    torch.save({'state_dict': state}, tmp_path / 'classifier.pth')
    return tmp_path / 'classifier.pth', model


@pytest.mark.parametrize('layout', ['transformers', 'mmbeitv2'])
def test_a_classifier_comes_back(layout, hub, file, tmp_path, images, fine_tuning_backbone):
    path, model = file
    name = 'someone/classifier'
    assert save_pretrained(path, tmp_path / 'folder', layout, num_heads=4, repository=name).equal
    push_to_hub(tmp_path / 'folder', name)
    uploaded = hub.repositories[name]['main']
    prefix = 'hf-hub:' * (layout == 'mmbeitv2')
    assert f"('{prefix}{name}'" in uploaded['README.md'].decode()
    assert uploaded.keys() >= {'README.md', 'config.json', 'model.safetensors'}
    with torch.no_grad():
        expected = model[0](images)[0]
        for parameter in fine_tuning_backbone.parameters():
            parameter.zero_()
        fine_tuning_backbone.load_checkpoint('hf-hub:someone/classifier')
        assert_close(fine_tuning_backbone(images)[0], expected, atol=1e-4, rtol=1e-4)


class TestTimm:
    """``timm.create_model`` alone, with a name of the hub or a folder: any width, no arguments."""

    def test_a_classifier_by_hub_and_folder(self, hub, file, tmp_path, images):
        path, model = file
        written = save_pretrained(path, tmp_path / 'folder', 'timm', repository='someone/small')
        assert written.equal
        push_to_hub(tmp_path / 'folder', 'someone/small')
        card = hub.repositories['someone/small']['main']['README.md'].decode()
        assert "timm.create_model('hf-hub:someone/small', pretrained=True)" in card
        assert 'library_name: timm' in card
        weights = str(tmp_path / 'folder/model.safetensors')
        for name, source in (
            ('hf-hub:someone/small', dict(pretrained=True)),
            (f'local-dir:{tmp_path / "folder"}', dict(checkpoint_path=weights)),
        ):
            library = timm.create_model(name, **source).eval()
            assert (library.embed_dim, library.num_classes) == (48, 10)
            with torch.no_grad():
                assert_close(library(images), model(images), atol=1e-5, rtol=1e-5)
            data = timm.data.resolve_model_data_config(library)
            assert tuple(data['input_size']) == (3, 64, 64)
            assert tuple(data['mean']) == timm.data.IMAGENET_DEFAULT_MEAN
        # And back here.
        assert open_checkpoint('hf-hub:someone/small').kind == 'classifier'

    def test_features_of_pretraining_without_layer_scale(
        self, beitv2_config, randomize, tmp_path, images
    ):
        beitv2_config['backbone'].update(init_values=None)
        beitv2_config['neck'].update(init_values=None)
        model = randomize(BEiTV2(**beitv2_config))
        torch.save(dict(state_dict=model.state_dict()), tmp_path / 'file.pth')
        save_pretrained(tmp_path / 'file.pth', tmp_path / 'folder', 'timm', num_heads=4)
        card = (tmp_path / 'folder/README.md').read_text()
        line = re.search(r'timm.create_model\(.*\)', card)[0]
        library = eval(line, dict(timm=timm))
        assert f"'local-dir:{tmp_path / 'folder'}', checkpoint_path=" in line
        with torch.no_grad():
            expected = extract_features(model, images)['cls_token']
            assert_close(library(images), expected, atol=1e-5, rtol=1e-5)

    def test_what_timm_has_no_model_for_is_one_line(self, vqkd, tmp_path):
        torch.save({'state_dict': vqkd.state_dict()}, tmp_path / 'vqkd.pth')
        with pytest.raises(InputError, match=r'timm has no model for .*tokenizer') as error:
            save_pretrained(tmp_path / 'vqkd.pth', tmp_path / 'folder', 'timm', num_heads=4)
        assert '\n' not in str(error.value)
        assert not (tmp_path / 'folder').exists()


def test_a_tokenizer_comes_back_by_the_command(hub, vqkd, images, tmp_path, capsys):
    torch.save({'state_dict': vqkd.state_dict()}, tmp_path / 'vqkd.pth')
    tool = runpy.run_path(str(ROOT / 'tools/push_to_hub.py'))
    line = [str(tmp_path / 'vqkd.pth'), 'someone/vqkd', '--layout', 'mmbeitv2', '--num-heads', '4']
    tool['main']([*line, '--licence', 'cc-by-4.0'])
    assert f'{hub.address}/someone/vqkd' in capsys.readouterr().out
    # Its card names the repository, not the folder of this machine that was uploaded.
    card = hub.repositories['someone/vqkd']['main']['README.md'].decode()
    assert "model = load_tokenizer('hf-hub:someone/vqkd', num_heads=4)" in card
    assert '# vqkd\n' in card
    assert '\nlicense: cc-by-4.0\n' in card
    assert 'Licence: cc-by-4.0.' in card
    assert str(Path(tempfile.gettempdir())) not in card
    config = json.loads(hub.repositories['someone/vqkd']['main']['config.json'])
    assert (config['kind'], config['quantizer']['num_codes']) == ('tokenizer', 64)
    found = tokenize(load_tokenizer('hf-hub:someone/vqkd', num_heads=4), images)
    expected = load_tokenizer(str(tmp_path / 'vqkd.pth'), num_heads=4)
    assert torch.equal(found, tokenize(expected, images))


class TestRefusals:
    def test_folders_that_are_there(self, file, tmp_path):
        (tmp_path / 'config.json').touch()
        for layout in ('transformers', 'mmbeitv2'):
            with pytest.raises(ExistingFileError, match=r'config\.json'):
                save_pretrained(file[0], tmp_path, layout)

    @pytest.mark.parametrize(
        ('name', 'licence', 'message'),
        [
            (None, 'My Licence', "'My Licence', allowed: a name of the Hugging Face hub, such as"),
            ('beitv2-b16-1600e-in1k', 'mit', 'published weights, whose licence is MIT: leave'),
        ],
    )
    def test_a_licence_that_is_none(self, name, licence, message, file, tmp_path):
        with pytest.raises(InputError, match=message):
            save_pretrained(name or file[0], tmp_path / 'out', 'timm', licence=licence)
        assert not (tmp_path / 'out').exists()

    def test_another_layout(self, file, tmp_path):
        with pytest.raises(
            InputError,
            match="layout is 'keras', allowed: transformers, transformers-mim, timm, mmbeitv2",
        ):
            save_pretrained(file[0], tmp_path, 'keras')

    def test_what_is_no_such_folder(self, tmp_path):
        with pytest.raises(MissingFileError, match=r'has no model\.safetensors: write the folder'):
            push_to_hub(tmp_path, 'a/b')

    def test_no_network_is_one_line(self, tmp_path, hub, monkeypatch):
        for name in ('model.safetensors', 'config.json', 'README.md'):
            (tmp_path / name).touch()
        monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
        with pytest.raises(MissingFileError, match=r'could not be uploaded to a/b .*auth') as error:
            push_to_hub(tmp_path, 'a/b')
        assert '\n' not in str(error.value)


class TestEveryFamily:
    """From a file of the official layout by name, to the hub, and back to the official layout."""

    @pytest.fixture
    def states(self, classifier, beitv2, vqkd, segmentor):
        return {
            'beitv2-b16-300e': {
                n: v
                for n, v in beitv2.state_dict().items()
                if not n.startswith('target_generator.')
            },
            'beitv2-b16-300e-in1k': classifier[1],
            'beitv2-b16-1600e-ade20k': segmentor.state_dict(),
            'vqkd-b16-clip-mmpretrain': vqkd.state_dict(),
        }

    @pytest.fixture
    def put(self, as_checkpoint, tmp_path, monkeypatch):
        """Write tensors as the file of a published name, into a mirror."""
        monkeypatch.setenv(MIRROR, str(tmp_path))
        monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'torch'))
        monkeypatch.setattr(torch.hub, '_hub_dir', None)

        def write(name, state, project):
            published = export(as_checkpoint(state), project).state
            torch.save({'model': published}, tmp_path / catalogue()[name].file)
            return published

        return write

    def test_a_published_classifier_brings_its_classes_and_its_result(
        self, classifier, put, tmp_path
    ):
        """Its file notes neither; the catalogue's config knows ImageNet."""
        _, state = classifier
        state |= {'head.fc.weight': torch.randn(1000, 48), 'head.fc.bias': torch.randn(1000)}
        put('beitv2-b16-300e-in1k', state, 'official')
        save_pretrained('beitv2-b16-300e-in1k', tmp_path / 'out', 'transformers')
        config = json.loads((tmp_path / 'out/config.json').read_text())
        assert config['id2label']['1'] == 'goldfish, Carassius auratus'
        assert config['layer_scale_init_value'] == 0.1
        card = (tmp_path / 'out/README.md').read_text()
        for line in (
            'tench, Tinca tinca; goldfish, Carassius auratus; ',
            '| published as | beitv2-b16-300e-in1k |',
            '| published result | 85.0 top-1 |',
            "(0.229, 0.224, 0.225), as this project's config of it has it",
        ):
            assert line in card
        assert '| data |' not in card

    @pytest.mark.parametrize(
        ('name', 'project'),
        [
            ('beitv2-b16-300e', 'official'),
            ('beitv2-b16-300e-in1k', 'official'),
            ('beitv2-b16-1600e-ade20k', 'official'),
            ('vqkd-b16-clip-mmpretrain', 'mmpretrain'),
        ],
    )
    def test_tensors_are_the_same_after_the_whole_way(
        self, name, project, states, hub, put, tmp_path
    ):
        entry = catalogue()[name]
        published = put(name, states[name], project)
        # Heads of the fixtures' models, where no bias table shows them.
        heads = 4 if entry.kind == 'tokenizer' else None
        written = save_pretrained(name, tmp_path / 'folder', 'mmbeitv2', heads)
        assert written.source.kind == entry.kind
        assert written.equal
        card = (tmp_path / 'folder/README.md').read_text()
        assert f'Licence: {entry.licence}, by {entry.publisher}.' in card
        assert ('license: mit' in card) == (entry.licence == 'MIT')
        push_to_hub(tmp_path / 'folder', 'someone/model')
        back = export(open_checkpoint('hf-hub:someone/model'), project).state
        assert back.keys() == published.keys()
        assert all(torch.equal(back[n], value) for n, value in published.items())

"""Repositories of the hub, through its own client, from a stand-in on this machine."""

import io

import huggingface_hub.constants as constants
import pytest
import timm
import torch
from hub_server import hub_server
from safetensors.torch import save
from torch.testing import assert_close

from mmbeitv2.apis import load_encoder, load_tokenizer, tokenize
from mmbeitv2.checkpoints.hub import HubSource, parse_hub_source
from mmbeitv2.checkpoints.sources import is_missing, local_file
from mmbeitv2.errors import InputError, MissingFileError

ARCH = dict(embed_dim=48, depth=4, num_heads=4)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in that the client asks, and a cache of the test's own."""
    with hub_server() as running:
        monkeypatch.setattr(constants, 'ENDPOINT', running.address)
        monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'hub'))
        template = running.address + '/{repo_id}/resolve/{revision}/{filename}'
        monkeypatch.setattr(constants, 'HUGGINGFACE_CO_URL_TEMPLATE', template)
        yield running


def content_of(model):
    return save({name: value.contiguous() for name, value in model.state_dict().items()})


def file_of(number):
    return save({'a': torch.full((3,), float(number))})


class TestLayouts:
    def test_timms(self, hub, randomize, images):
        library = randomize(
            timm.create_model('beitv2_base_patch16_224', img_size=64, num_classes=10, **ARCH)
        )
        hub.put('timm/small', {'model.safetensors': content_of(library)})
        encoder = load_encoder('hf-hub:timm/small', num_heads=4)
        with torch.no_grad():
            expected = library.forward_head(library.forward_features(images), pre_logits=True)
            (found,) = encoder.vit(images)
        assert_close(found, expected, atol=1e-4, rtol=1e-4)

    def test_transformers(self, hub, randomize, images, fine_tuning_backbone, tmp_path):
        transformers = pytest.importorskip('transformers')
        config = transformers.BeitConfig(
            hidden_size=48,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=192,
            image_size=64,
            layer_norm_eps=1e-6,
            use_relative_position_bias=True,
        )
        library = randomize(transformers.BeitForImageClassification(config))
        library.save_pretrained(tmp_path / 'folder')
        files = {path.name: path.read_bytes() for path in (tmp_path / 'folder').iterdir()}
        hub.put('someone/beit', files)
        fine_tuning_backbone.load_checkpoint('hf-hub:someone/beit')
        with torch.no_grad():
            expected = library.beit(images).pooler_output
            assert_close(fine_tuning_backbone(images)[0], expected, atol=1e-4, rtol=1e-4)

    def test_ours(self, hub, vqkd, images, tmp_path):
        buffer = io.BytesIO()
        torch.save({'state_dict': vqkd.state_dict()}, buffer)
        (tmp_path / 'file.pth').write_bytes(buffer.getvalue())
        # Where there are no safetensors, a PyTorch file is read weights-only.
        hub.put('someone/tokenizer', {'pytorch_model.bin': buffer.getvalue()})
        codes = tokenize(load_tokenizer('hf-hub:someone/tokenizer', num_heads=4), images)
        expected = load_tokenizer(str(tmp_path / 'file.pth'), num_heads=4)
        assert torch.equal(codes, tokenize(expected, images))


class TestRevisions:
    def test_each_has_its_own_file(self, hub):
        hub.put('a/b', {'model.safetensors': file_of(1)})
        hub.put('a/b', {'model.safetensors': file_of(2)}, revision='v2')
        for source, number in (('hf-hub:a/b', 1), ('hf-hub:a/b@v2', 2)):
            with local_file(source) as path:
                assert path.read_bytes() == file_of(number)

    def test_names(self):
        assert parse_hub_source('hf-hub:timm/x.y_z') == HubSource('timm/x.y_z', None)
        assert parse_hub_source('hf-hub:a/b@refs/pr/1') == HubSource('a/b', 'refs/pr/1')

    def test_a_file_is_kept_and_serves_without_network(self, hub, monkeypatch):
        hub.put('a/b', {'model.safetensors': file_of(1)})
        with local_file('hf-hub:a/b') as first:
            pass
        monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
        with local_file('hf-hub:a/b') as path:
            assert path == first


class TestRefusals:
    @pytest.mark.parametrize(
        ('source', 'message'),
        [
            ('hf-hub:no/where', 'has no repository no/where, or it is private'),
            ('hf-hub:a/b@v9', "a/b has no revision 'v9': correct the branch"),
            ('hf-hub:a/texts', r'has no weights \(model.safetensors or .*; it holds README.md'),
        ],
    )
    def test_what_is_not_there_is_named_in_one_line(self, source, message, hub):
        hub.put('a/b', {'model.safetensors': file_of(1)})
        hub.put('a/texts', {'README.md': b'nothing'})
        assert not is_missing(source)
        with pytest.raises(MissingFileError, match=message) as error:
            local_file(source).__enter__()
        assert '\n' not in str(error.value)

    @pytest.mark.parametrize(
        ('file', 'message'),
        [
            ('adapter_config.json', 'holds a LoRA adapter'),
            ('model.safetensors.index.json', 'holds its weights in several files'),
        ],
    )
    def test_parts_of_models_are_named(self, file, message, hub):
        hub.put('a/part', {file: b'{}'})
        with pytest.raises(InputError, match=message):
            local_file('hf-hub:a/part').__enter__()

    @pytest.mark.parametrize('source', ['hf-hub:', 'hf-hub:a', 'hf-hub:a/b/c', 'hf-hub:a/../b'])
    def test_no_repository(self, source):
        with pytest.raises(InputError, match='allowed: hf-hub:OWNER/NAME or'):
            local_file(source).__enter__()

    def test_no_network_is_one_line_at_once(self, hub, monkeypatch):
        monkeypatch.setattr(constants, 'ENDPOINT', 'http://127.0.0.1:9')
        with pytest.raises(MissingFileError, match=r'not in .*HF_ENDPOINT, or give the path') as e:
            local_file('hf-hub:a/b').__enter__()
        assert '\n' not in str(e.value)

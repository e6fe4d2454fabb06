"""Converted files load in the other project as they are and compute the same there."""

import json
import re
from pathlib import Path

import pytest
import timm
import torch
from mmengine.runner import load_checkpoint
from models_of_projects import assert_equal
from safetensors import safe_open

from mmbeitv2.apis import extract_features, load_pretrained, load_tokenizer
from mmbeitv2.checkpoints.hashes import sha256
from mmbeitv2.checkpoints.reading import read_state_dict, read_weights
from mmbeitv2.checkpoints.translation import open_checkpoint, translate
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.conversion import convert
from mmbeitv2.exchange.exporting import TARGETS, export
from mmbeitv2.exchange.writing import FOLDERS

MODELS = dict(pretraining='beitv2', tokenizer='vqkd', segmentation='segmentor')
ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ('pretrain_tiny', 'pretrain_tiny_unshared_head', 'vqkd_tiny', 'classifier_tiny')
TIMM_ARCH = dict(img_size=64, embed_dim=48, num_heads=4)


@pytest.fixture
def source(request, randomize, tmp_path):
    """Path of a checkpoint of a kind, and its model."""

    def make(kind):
        if kind == 'classifier':
            model, state = request.getfixturevalue('classifier')
        else:
            model = request.getfixturevalue(MODELS[kind])
            # A codebook is no parameter, and keeps its unit vectors.
            state = randomize(model).state_dict()
        torch.save({'state_dict': state}, tmp_path / f'{kind}.pth')
        return tmp_path / f'{kind}.pth', model

    return make


def destination(tmp_path, project):
    names = dict.fromkeys(FOLDERS, 'folder') | {'safetensors': 'out.safetensors'}
    return tmp_path / names.get(project, 'out.pth')


@pytest.mark.parametrize(
    ('project', 'kind'), [(project, kind) for project in TARGETS for kind in TARGETS[project]]
)
def test_way_there_and_back(project, kind, source, classifier, tmp_path):
    if project in FOLDERS:
        pytest.importorskip('transformers')
    if kind == 'backbone':
        state = {n: v for n, v in classifier[1].items() if n.startswith('backbone.')}
        torch.save(state, tmp_path / 'backbone.pth')
        path = tmp_path / 'backbone.pth'
    else:
        path, _ = source(kind)
    conversion = convert(path, destination(tmp_path, project), project, num_heads=4)
    assert conversion.equal, str(conversion)
    assert conversion.differences
    assert conversion.source.kind == kind


class TestTimm:
    def test_classifier(self, source, tmp_path, images):
        path, model = source('classifier')
        convert(path, tmp_path / 'out.safetensors', 'timm')
        library = timm.create_model(
            'beitv2_base_patch16_224',
            checkpoint_path=str(tmp_path / 'out.safetensors'),
            num_classes=10,
            depth=4,
            **TIMM_ARCH,
        ).eval()
        with torch.no_grad():
            assert_equal(library(images), model(images))

    def test_pretraining_gives_features(self, source, tmp_path, images):
        path, model = source('pretraining')
        convert(path, tmp_path / 'out.pth', 'timm', num_heads=4)
        library = timm.create_model(
            'beitv2_base_patch16_224', num_classes=0, global_pool='token', depth=5, **TIMM_ARCH
        ).eval()
        library.load_state_dict(read_state_dict(tmp_path / 'out.pth'), strict=True)
        with torch.no_grad():
            assert_equal(library(images), extract_features(model, images)['cls_token'])


class TestTransformers:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip('transformers')

    def test_classifier(self, source, tmp_path, images):
        from transformers import AutoModelForImageClassification

        path, model = source('classifier')
        convert(path, tmp_path / 'out', 'transformers')
        library, loading = AutoModelForImageClassification.from_pretrained(
            tmp_path / 'out', output_loading_info=True
        )
        assert not any(loading.values())
        with torch.no_grad():
            assert_equal(library(images).logits, model(images))

    def test_pretraining_gives_features(self, source, tmp_path, images):
        from transformers import AutoModel

        path, model = source('pretraining')
        convert(path, tmp_path / 'out', 'transformers', num_heads=4)
        library, loading = AutoModel.from_pretrained(tmp_path / 'out', output_loading_info=True)
        assert not any(loading.values())
        expected = extract_features(model, images)
        with torch.no_grad():
            tokens = library(images).last_hidden_state
        assert_equal(tokens[:, 0], expected['cls_token'])
        assert_equal(tokens[:, 1:], expected['patch_tokens'])


class TestMaskedModelling:
    @pytest.fixture(autouse=True)
    def installed(self):
        pytest.importorskip('transformers')

    def test_the_pages_example_gives_our_logits(self, source, beitv2, tmp_path, monkeypatch):
        path, model = source('pretraining')
        path.rename(tmp_path / 'pretraining.pth')
        tokenizer = dict(model.target_generator.state_dict())
        torch.save(dict(state_dict=tokenizer), tmp_path / 'tokenizer.pth')
        monkeypatch.chdir(tmp_path)
        page = (ROOT / 'docs/checkpoints.md').read_text()
        (example,) = re.findall(r'```python\n((?:(?!```).)*transformers-mim.*?)```', page, re.S)
        found = {}
        exec(example, found)
        assert_equal(found['logits'], found['expected'])
        tokens = model.target_generator.tokenize(2 * found['photos'] - 1).flatten(1)
        assert torch.equal(found['codes'], tokens[found['mask']])
        assert 0 <= found['accuracy'] <= 1

    def test_what_has_no_place_is_named(self, source, tmp_path):
        path, _ = source('pretraining')
        conversion = convert(path, tmp_path / 'folder', 'transformers-mim')
        assert any(n.startswith('neck.cls_pt_layers.') for n in conversion.export.left_out)
        assert any(n.startswith('target_generator.') for n in conversion.export.left_out)
        assert 'BeitForMaskedImageModeling.from_pretrained(' in conversion.lines
        back = load_pretrained(str(tmp_path / 'folder'))
        assert back.neck is None

    def test_no_other_kind(self, source, tmp_path):
        path, _ = source('classifier')
        with pytest.raises(InputError, match='transformers-mim has no model for'):
            convert(path, tmp_path / 'folder', 'transformers-mim')


class TestMMPretrain:
    """The library's models are those of ``test_other_projects``, in the other direction."""

    def test_classifier_by_its_own_loader(self, source, tmp_path, images, build_mmpretrain):
        path, model = source('classifier')
        convert(path, tmp_path / 'out.pth', 'mmpretrain')
        library = build_mmpretrain(
            dict(
                type='ImageClassifier',
                backbone=dict(
                    type='BEiTViT',
                    arch=dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=192),
                    img_size=64,
                ),
                head=dict(type='LinearClsHead', num_classes=10, in_channels=48),
            )
        )
        load_checkpoint(library, str(tmp_path / 'out.pth'), strict=True)
        with torch.no_grad():
            assert_equal(library(images), model(images))

    @pytest.mark.parametrize('variant', ['own norm and head', 'no aggregation'])
    def test_models_it_cannot_build_are_refused(self, variant, beitv2_config, tmp_path):
        from mmbeitv2.models import BEiTV2

        if variant == 'no aggregation':
            beitv2_config['neck'] = None
        else:
            beitv2_config['neck']['shared_norm'] = False
        torch.save(BEiTV2(**beitv2_config).state_dict(), tmp_path / 'file.pth')
        with pytest.raises(ValueError, match='cannot become a checkpoint of mmpretrain, whose'):
            convert(tmp_path / 'file.pth', tmp_path / 'out.pth', 'mmpretrain', num_heads=4)
        assert not (tmp_path / 'out.pth').exists()


class TestOfficial:
    @pytest.mark.parametrize('name', GOLDEN)
    def test_golden_checkpoints_come_back_exactly(self, name, golden):
        values = golden(name)
        state = {n.removeprefix('state/'): v for n, v in values.items() if n.startswith('state/')}
        back = export(translate(dict(state), 'file.pth'), 'official').state
        assert back.keys() == state.keys()
        unread = ('quantize.embedding.cluster_size', 'quantize.embedding.embed_avg')
        assert all(torch.equal(back[n], state[n]) for n in state if n not in unread)

    def test_names_and_shapes_are_those_of_the_release(self, official_layouts):
        for shapes in official_layouts.values():
            state = {n: torch.zeros(1).expand(shape) for n, shape in shapes.items()}
            checkpoint = translate(state, 'file.pth')
            found = {n: list(v.shape) for n, v in export(checkpoint, 'official').state.items()}
            # Real files have biases of queries and values, which this classifier leaves out.
            added = {n for n in found if n.endswith(('attn.q_bias', 'attn.v_bias'))} - set(shapes)
            assert {n: s for n, s in found.items() if n not in added} == shapes

    def test_segmentation_keeps_its_pyramid_in_the_backbone(self, source):
        path, model = source('segmentation')
        state = export(open_checkpoint(path), 'official').state
        pyramid = {n for n in state if '.fpn' in n}
        assert {
            'backbone.fpn1.0.weight',
            'backbone.fpn1.3.bias',
            'backbone.fpn2.0.weight',
        } <= pyramid
        assert not [n for n in state if n.startswith('neck.')]
        ours = model.state_dict().keys() - {'backbone._extra_state'}
        assert translate(state, 'file.pth').state.keys() == ours

    def test_layer_of_aggregation_is_noted(self, source, tmp_path):
        path, model = source('pretraining')
        convert(path, tmp_path / 'out.pth', 'official', num_heads=4)
        assert model.neck.layer == 3
        assert load_pretrained(str(tmp_path / 'out.pth')).neck.layer == 3
        assert read_weights(tmp_path / 'out.pth')[1]['layer'] == '3'


class TestOurs:
    def test_official_segmentation_loads_by_mmengine(self, source, tmp_path, images, segmentor):
        path, model = source('segmentation')
        with torch.no_grad():
            expected = model(images)
        convert(path, tmp_path / 'official.pth', 'official')
        convert(tmp_path / 'official.pth', tmp_path / 'ours.pth', 'mmbeitv2')
        with torch.no_grad():
            for parameter in segmentor.parameters():
                parameter.zero_()
            load_checkpoint(segmentor, str(tmp_path / 'ours.pth'), strict=True)
            assert torch.equal(segmentor(images), expected)

    def test_tokenizer_of_safetensors(self, source, tmp_path, images):
        path, model = source('tokenizer')
        convert(path, tmp_path / 'out.safetensors', 'safetensors', num_heads=4)
        tokenizer = load_tokenizer(str(tmp_path / 'out.safetensors'), num_heads=4)
        assert torch.equal(tokenizer.tokenize(images), model(images, mode='tensor'))


class TestFiles:
    def test_hash_of_the_source_is_noted(self, source, tmp_path):
        path, _ = source('classifier')
        for name in ('out.pth', 'out.safetensors'):
            convert(path, tmp_path / name, 'timm')
            metadata = read_weights(tmp_path / name)[1]
            assert metadata['source_sha256'] == sha256(path)
            assert metadata['source'] == 'classifier.pth'
        with safe_open(tmp_path / 'out.safetensors', 'pt') as file:
            assert file.metadata()['format'] == 'pt'

    @pytest.mark.parametrize('project', ['timm', 'transformers'])
    def test_existing_files_are_kept(self, project, source, tmp_path):
        path, _ = source('classifier')
        target = destination(tmp_path, project)
        written = target / 'config.json' if project == 'transformers' else target
        written.parent.mkdir(exist_ok=True)
        written.write_text('mine')
        with pytest.raises(FileExistsError, match='exists: choose another name or --overwrite'):
            convert(path, target, project)
        assert written.read_text() == 'mine'
        convert(path, target, project, overwrite=True)
        assert written.read_bytes() != b'mine'

    def test_source_may_be_replaced(self, source):
        path, _ = source('classifier')
        assert convert(path, path, 'timm', overwrite=True).equal
        assert 'blocks.0.norm1.weight' in read_state_dict(path)

    def test_interrupted_writing_leaves_nothing(self, source, tmp_path, monkeypatch):
        path, _ = source('classifier')
        (tmp_path / 'out').mkdir()

        def fail(content, file):
            Path(file).write_bytes(b'half')
            raise KeyboardInterrupt

        monkeypatch.setattr(torch, 'save', fail)
        with pytest.raises(KeyboardInterrupt):
            convert(path, tmp_path / 'out' / 'out.pth', 'timm')
        assert not list((tmp_path / 'out').iterdir())

    @pytest.mark.parametrize(
        ('name', 'project', 'message'),
        [
            ('out.pth', 'safetensors', r'must be a file whose name ends in \.safetensors'),
            ('out', 'timm', r'must be a file whose name ends in \.pth, '),
            ('out.safetensors', 'transformers', 'transformers loads a folder'),
        ],
    )
    def test_unsuitable_names_are_refused(self, name, project, message, source, tmp_path):
        with pytest.raises(ValueError, match=message):
            convert(source('classifier')[0], tmp_path / name, project)

    def test_kind_without_a_model_there_is_refused(self, source, tmp_path):
        with pytest.raises(ValueError, match=r'timm has no model for .*for a tokenizer choose one'):
            convert(source('tokenizer')[0], tmp_path / 'out.pth', 'timm', num_heads=4)

    def test_transformers_config_is_plain(self, source, tmp_path):
        convert(source('pretraining')[0], tmp_path / 'out', 'transformers', num_heads=4)
        config = json.loads((tmp_path / 'out' / 'config.json').read_text())
        assert config['model_type'] == 'beit'
        assert config['hidden_size'] == 48
        assert config['use_shared_relative_position_bias'] is True


def test_table_says_what_differs(source, tmp_path):
    conversion = convert(source('classifier')[0], tmp_path / 'out.pth', 'timm')
    lines = [' '.join(line.split()) for line in str(conversion).splitlines()]
    assert lines[1] == '71 tensors written, 0 left out'
    assert lines[2] == 'output shape largest difference relative'
    assert lines[3].startswith('logits (2, 10) ')
    assert lines[4] == 'way back: 71 of 71 tensors exactly equal'
    conversion.differing.append('backbone.norm.weight')
    assert not conversion.equal
    assert 'way back: 70 of 71 tensors exactly equal; not backbone.norm.weight' in str(conversion)

"""Wherever weights can be asked for, the right ones are loaded or an error says how."""

import pytest
import timm
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpretrain import FeatureExtractor, get_model
from mmpretrain.registry import MODELS
from mmseg.apis import init_model
from models_of_projects import CLASSIFIER_BACKBONE, randomized

from mmbeitv2.errors import InputError
from mmbeitv2.exchange.conversion import convert
from mmbeitv2.launch import preflight
from mmbeitv2.launch import runner as launching
from mmbeitv2.models import VQKD, BEiTV2, BEiTViT, VQKDTokenizer

MODEL = dict(
    type='ImageClassifier',
    backbone=dict(type='mmbeitv2.BEiTViT', **CLASSIFIER_BACKBONE),
    head=dict(type='mmbeitv2.LinearClsHead', num_classes=10, in_channels=48),
)
# The same backbone as mmpretrain has it.
HOSTS_BACKBONE = dict(
    type='BEiTViT',
    arch=dict(embed_dims=48, num_layers=4, num_heads=4, feedforward_channels=192),
    img_size=64,
    out_type='avg_featmap',
    final_norm=False,
    use_abs_pos_emb=False,
    use_rel_pos_bias=True,
)
FOREIGN = ('official', 'timm', 'transformers', 'mmpretrain')


def build(model):
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return MODELS.build(Config(dict(model=model)).model)


@pytest.fixture
def file_of(tmp_path):
    """Write a state dict of this project in another's layout."""

    def write(state, project):
        torch.save(dict(state_dict=state), tmp_path / 'ours.pth')
        if project == 'mmbeitv2':
            return str(tmp_path / 'ours.pth')
        path = tmp_path / (project if project == 'transformers' else f'{project}.pth')
        convert(tmp_path / 'ours.pth', path, project, num_heads=4)
        return str(path)

    return write


@pytest.fixture
def tool(make_runner, monkeypatch):
    """Build a runner as the tools do, of a small model instead of a config's."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    model = []
    monkeypatch.setattr(launching.Runner, 'from_cfg', lambda cfg: make_runner(*model, **cfg))

    def build_tool(*models, **cfg):
        model[:] = models
        return launching.build_runner(ConfigDict(**cfg))

    return build_tool


def one_line(error):
    assert '\n' not in str(error.value)
    return str(error.value)


@pytest.mark.usefixtures('tool')
class TestHostsModelAroundOurBackbone:
    """mmengine loads without being strict; nothing of ours stays random unnoticed."""

    @pytest.fixture
    def path(self, file_of, classifier, request):
        launching.refuse_code_in_checkpoints()
        path = file_of(classifier[1], request.param)
        return f'{path}/model.safetensors' if request.param == 'transformers' else path

    @pytest.mark.parametrize('path', FOREIGN, indirect=True)
    @pytest.mark.parametrize('prefix', [None, 'backbone.'])
    def test_init_cfg_of_the_model(self, path, prefix):
        start = dict(type='Pretrained', checkpoint=path)
        model = build(dict(MODEL, init_cfg=start | (dict(prefix=prefix) if prefix else {})))
        # mmengine itself asserts that a prefix is there.
        with pytest.raises((InputError, AssertionError)) as error:
            model.init_weights()
        if isinstance(error.value, InputError):
            assert 'init_cfg of the backbone itself' in one_line(error)

    @pytest.mark.parametrize('path', FOREIGN, indirect=True)
    def test_get_model_and_feature_extractor(self, path):
        for load in (get_model, FeatureExtractor):
            with pytest.raises(InputError, match=r'convert-checkpoint FILE NEW\.pth --to mmbeitv2'):
                load(Config(dict(model=MODEL)), pretrained=path, device='cpu')

    @pytest.mark.parametrize('path', ['mmbeitv2'], indirect=True)
    def test_our_own_file_loads(self, path, classifier, images):
        model = get_model(Config(dict(model=MODEL)), pretrained=path)
        torch.testing.assert_close(model.head(model.backbone(images)), classifier[0](images))

    def test_a_part_of_it(self, file_of, classifier, images):
        """A shared bias would be dropped, and layers of a deeper model."""
        launching.refuse_code_in_checkpoints()
        _, state = classifier
        for change in (
            lambda n: n.replace('blocks.3.', 'blocks.4.'),
            lambda n: n.replace('blocks.2.attn.relative', 'rel_pos_bias.relative'),
        ):
            path = file_of({change(n): v for n, v in state.items()}, 'mmbeitv2')
            with pytest.raises(InputError, match='another architecture'):
                get_model(Config(dict(model=MODEL)), pretrained=path)

    def test_segmentation_of_the_release(self, file_of, segmentor):
        path = file_of(segmentor.state_dict(), 'official')
        # Its backbone has our names, its pyramid lies within; as mmengine looks for it.
        torch.save(dict(state_dict=torch.load(path)['model']), path)
        cfg = Config(dict(model=dict(type='EncoderDecoder', **SEGMENTOR)))
        with pytest.raises(InputError, match=r'hold fpn1\.0\.weight, as files of the official'):
            init_model(cfg, path, device='cpu')

    def test_adapters_and_old_files_without_notes_are_let_through(self, classifier):
        _, state = classifier
        model = build(MODEL)
        plain = {n: v for n, v in state.items() if not n.endswith('_extra_state')}
        model.load_state_dict(plain)
        adapter = {'backbone.blocks.0.attn.qkv.lora_A': torch.zeros(1)}
        assert model.load_state_dict(adapter, strict=False).unexpected_keys == list(adapter)

    def test_other_parts_alone_are_loaded_as_torch_loads_them(self, classifier, beitv2, tmp_path):
        """Of a backbone that a dictionary has no trace of, nothing is lost."""
        model, bias = build(MODEL), torch.arange(10.0)
        before = model.backbone.cls_token.clone()
        found = model.load_state_dict({'head.fc.bias': bias}, strict=False)
        assert (found.unexpected_keys, torch.equal(model.head.fc.bias, bias)) == ([], True)
        assert torch.equal(model.backbone.cls_token, before)
        torch.save(dict(state_dict={'head.fc.bias': bias + 1}), tmp_path / 'head.pth')
        load_checkpoint(model, str(tmp_path / 'head.pth'))
        assert torch.equal(model.head.fc.bias, bias + 1)
        tokenizer = {
            n: v for n, v in beitv2.state_dict().items() if n.startswith('target_generator.')
        }
        beitv2.load_state_dict(tokenizer, strict=False)
        with pytest.raises(RuntimeError, match='Missing key'):
            model.load_state_dict({'head.fc.bias': bias})

    @pytest.mark.parametrize('name', ['blocks.0.norm1.weight', 'layer1.0.conv1.weight', 'fc.bias'])
    def test_a_head_beside_what_has_no_place_is_refused(self, name, classifier):
        state = {'head.fc.bias': torch.zeros(10), name: torch.zeros(48)}
        message = f'hold nothing of BEiTViT .* but {name}, for which'
        with pytest.raises(InputError, match=message) as error:
            build(MODEL).load_state_dict(state, strict=False)
        assert one_line(error)

    def test_another_network_s_backbone_is_refused(self, classifier):
        state = {'backbone.layer1.0.conv1.weight': torch.zeros(8), 'head.fc.bias': torch.zeros(10)}
        message = (
            r'given to BEiTViT hold layer1\.0\.conv1\.weight, and nothing of any of its layers'
        )
        with pytest.raises(InputError, match=message) as error:
            build(MODEL).load_state_dict(state, strict=False)
        assert one_line(error)

    def test_what_has_a_file_of_its_own_may_be_left_out(self, beitv2):
        """The official pretraining files hold no tokenizer."""
        state = {n: v for n, v in beitv2.state_dict().items() if not n.startswith('target_')}
        missing = beitv2.load_state_dict(state, strict=False).missing_keys
        assert missing
        assert all(name.startswith('target_generator.') for name in missing)


SEGMENTOR = dict(
    data_preprocessor=dict(type='SegDataPreProcessor'),
    backbone=dict(
        type='mmbeitv2.BEiTViT',
        arch=dict(embed_dim=32, depth=4, num_heads=2),
        img_size=64,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        final_norm=None,
        out_type='featmap',
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(type='Feature2Pyramid', embed_dim=32, norm_cfg=dict(type='BN')),
    decode_head=dict(
        type='FCNHead',
        in_channels=32,
        in_index=2,
        channels=8,
        num_classes=5,
        norm_cfg=dict(type='BN'),
        align_corners=False,
    ),
    test_cfg=dict(mode='whole'),
)


class TestHostsOwnModel:
    """Run by our tools: said before the first step, instead of training from random weights."""

    @pytest.mark.parametrize('project', ['official', 'timm', 'transformers'])
    def test_that_no_weight_fits(self, project, file_of, classifier, tool):
        path = file_of(classifier[1], project)
        start = dict(type='Pretrained', checkpoint=path)
        model = build(dict(MODEL, backbone=HOSTS_BACKBONE | dict(init_cfg=start)))
        runner = tool(model)
        with pytest.raises(InputError, match=r'model\.backbone\.init_cfg names .*fits BEiTViT'):
            runner.train()
        assert runner.iter == 0

    def test_a_head_of_ours(self, file_of, classifier, tool):
        path = file_of(classifier[1], 'official')
        start = dict(type='Pretrained', checkpoint=path)
        runner = tool(build(dict(MODEL, head=MODEL['head'] | dict(init_cfg=start))))
        with pytest.raises(InputError, match=r'model\.head\.init_cfg .*fits LinearClsHead'):
            runner.train()

    def test_its_own_layout_is_its_own(self, file_of, classifier, tool, images):
        path = file_of(classifier[1], 'mmpretrain')
        start = dict(type='Pretrained', checkpoint=path, prefix='backbone.')
        model = build(dict(MODEL, backbone=HOSTS_BACKBONE | dict(init_cfg=start)))
        runner = tool(model)
        runner.call_hook('before_run')
        model.init_weights()
        runner.call_hook('before_train')
        expected = classifier[0][0](images)[0]
        model.eval()
        torch.testing.assert_close(model.backbone(images)[0], expected, atol=1e-5, rtol=1e-5)


class TestLoadFrom:
    @pytest.mark.parametrize('project', ['mmbeitv2', *FOREIGN])
    def test_a_classifier_of_every_layout(self, project, file_of, classifier, tool, images):
        path = file_of(classifier[1], project)
        model = build(MODEL)
        tool(model, load_from=path).load_or_resume()
        model.eval()
        assert torch.equal(model.head(model.backbone(images)), classifier[0](images))

    def test_from_the_hubs_name_of_a_timm_model(self, tool, images, tmp_path, monkeypatch):
        """A name is read as ``local_file`` reads it; the hub itself is tested in test_hub.py."""
        from mmbeitv2.checkpoints import sources

        library = randomized(
            timm.models.beit.Beit(
                **dict(img_size=64, embed_dim=48, depth=4, num_heads=4, num_classes=10),
                **dict(init_values=0.1, use_abs_pos_emb=False, use_rel_pos_bias=True),
            )
        )
        torch.save(library.state_dict(), tmp_path / 'file.pth')
        monkeypatch.setattr(sources, 'weights_from_hub', lambda source: tmp_path / 'file.pth')
        model = build(MODEL)
        tool(model, load_from='hf-hub:timm/x').load_or_resume()
        model.eval()
        expected = library(images)
        torch.testing.assert_close(
            model.head(model.backbone(images)), expected, atol=1e-5, rtol=1e-5
        )

    @pytest.mark.parametrize('project', ['official', 'mmpretrain'])
    def test_pretraining(self, project, file_of, beitv2, beitv2_config, tool, tmp_path):
        """The official file holds no tokenizer: that is init_cfg's."""
        randomized(beitv2)
        path = file_of(beitv2.state_dict(), project)
        tokenizer = tmp_path / 'tokenizer.pth'
        torch.save(dict(state_dict=beitv2.target_generator.state_dict()), tokenizer)
        start = dict(type='Pretrained', checkpoint=str(tokenizer))
        beitv2_config['target_generator'].update(init_cfg=start)
        model = BEiTV2(**beitv2_config)
        model.init_weights()
        tool(model, load_from=path).load_or_resume()
        given = beitv2.state_dict()
        for name, value in model.state_dict().items():
            assert torch.equal(value, given[name]), name

    def test_pretraining_without_any_tokenizer_is_refused(self, file_of, beitv2, tool):
        path = file_of(beitv2.state_dict(), 'official')
        with pytest.raises(InputError, match=r'it has no tensor target_generator\.'):
            tool(beitv2, load_from=path).load_or_resume()

    @pytest.mark.parametrize('key', ['model', 'model_ema', 'state_dict_ema'])
    def test_a_tokenizer_under_whatever_key(self, key, vqkd, vqkd_config, tool, tmp_path):
        torch.save({key: vqkd.state_dict()}, tmp_path / 'file.pth')
        model = VQKD(**vqkd_config)
        tool(model, load_from=str(tmp_path / 'file.pth')).load_or_resume()
        given = vqkd.state_dict()
        assert all(torch.equal(value, given[n]) for n, value in model.state_dict().items())

    def test_weights_of_another_model_name_init_cfg(self, file_of, beitv2, tool):
        path = file_of(beitv2.state_dict(), 'official')
        with pytest.raises(InputError, match=r'official pretraining.*no tensor .*set init_cfg of'):
            tool(build(MODEL), load_from=path).load_or_resume()


class TestResume:
    @pytest.mark.parametrize('project', ['mmbeitv2', *FOREIGN])
    def test_weights_without_a_run_are_refused(self, project, file_of, classifier, tool):
        path = file_of(classifier[1], project)
        message = r'no optimiser and position.*load_from.*init_cfg'
        with pytest.raises(InputError, match=message) as error:
            tool(build(MODEL), load_from=path, resume=True)
        assert one_line(error)

    def test_by_a_hosts_tool_too(self, file_of, classifier, make_runner):
        """The hook of our configs says so."""
        path = file_of(classifier[1], 'official')
        hook = dict(type='mmbeitv2.SoundWeightsHook')
        runner = make_runner(build(MODEL), hooks=[hook], load_from=path, resume=True)
        with pytest.raises(InputError, match='no optimiser and position'):
            runner.train()

    def test_published_names_are_refused_before_any_download(self):
        cfg = Config({'load_from': 'beitv2-b16-1600e', 'resume': True})
        with pytest.raises(InputError, match=r'no optimiser and position.*load_from'):
            preflight.check(cfg)


class TestInitCfg:
    def test_of_a_tokenizer_in_training(self, vqkd, vqkd_config, tmp_path):
        torch.save({'model': vqkd.state_dict()}, tmp_path / 'file.pth')
        start = dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'))
        other = VQKD(**vqkd_config, init_cfg=start)
        other.init_weights()
        given = vqkd.state_dict()
        assert all(torch.equal(value, given[n]) for n, value in other.state_dict().items())

    @pytest.mark.parametrize('project', ['official', 'mmpretrain', 'mmbeitv2'])
    def test_of_a_whole_pretraining_model(self, project, file_of, beitv2, beitv2_config):
        randomized(beitv2)
        path = file_of(beitv2.state_dict(), project)
        if project == 'official':
            beitv2_config['target_generator'] = None
        start = dict(type='Pretrained', checkpoint=path)
        other = BEiTV2(**beitv2_config, init_cfg=start)
        other.init_weights()
        given = beitv2.state_dict()
        assert all(torch.equal(value, given[n]) for n, value in other.state_dict().items())

    @pytest.mark.parametrize(
        ('init_cfg', 'message'),
        [
            (dict(type='TruncNormal', std=0.02), 'allowed: dict'),
            ([dict(type='Constant', val=0), dict(type='Pretrained', checkpoint='x')], 'allowed'),
            (dict(type='Pretrained', checkpoint='x', prefx='backbone.'), "option 'prefx', allowed"),
            (dict(type='Pretrained'), 'allowed: dict'),
        ],
    )
    def test_what_would_be_passed_over_is_refused(self, init_cfg, message, tokenizer_config):
        backbone = BEiTViT(**CLASSIFIER_BACKBONE, init_cfg=init_cfg)
        for model in (backbone, VQKDTokenizer(**tokenizer_config, init_cfg=init_cfg)):
            with pytest.raises(InputError, match=message):
                model.init_weights()

    def test_a_list_of_one_is_that_one(self, tokenizer, tokenizer_config, tmp_path):
        torch.save(tokenizer.state_dict(), tmp_path / 'file.pth')
        start = [dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth'))]
        other = VQKDTokenizer(**tokenizer_config, init_cfg=start)
        other.init_weights()
        given = tokenizer.state_dict()
        assert all(torch.equal(value, given[n]) for n, value in other.state_dict().items())

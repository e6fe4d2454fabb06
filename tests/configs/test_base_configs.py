"""The paper's configs at their real size."""

from pathlib import Path

import huggingface_hub
import pytest
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from mmpretrain.structures import DataSample

from mmbeitv2.launch.config import load_config
from mmbeitv2.models import VQKDTokenizer

CONFIGS = Path(__file__).parents[2] / 'configs'
PRETRAINING = CONFIGS / 'beitv2_vit-b16_300e.py'
TOKENIZER = CONFIGS / 'vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py'
# What the official files hold besides, and no model here reads.
DERIVED = ('relative_position_index', 'quantize.cluster_size', 'quantize.embedding.embed_avg')


@pytest.fixture(autouse=True)
def mmpretrain_scope():
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield


def shapes(state):
    weights = {name: value for name, value in state.items() if not name.endswith('_extra_state')}
    return {name: list(value.shape) for name, value in weights.items()}


def millions(module):
    return sum(parameter.numel() for parameter in module.parameters()) / 1e6


@pytest.fixture(scope='module')
def pretraining_model():
    """On the meta device: all shapes, no memory."""
    cfg = load_config(PRETRAINING)
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.device('meta'):
        return ROOT_MODELS.build(cfg.model)


def test_pretraining_model_has_the_official_tensors(pretraining_model, official_layouts):
    official = official_layouts['pretrain ViT-B/16 (beitv2_base_patch16_224_pt1k layout)']
    found = {
        name.split('.', 1)[1]: shape
        for name, shape in shapes(pretraining_model.state_dict()).items()
        if name.startswith(('backbone.', 'neck.cls', 'head.'))
    }
    assert found == {n: s for n, s in official.items() if not n.endswith(DERIVED)}


def test_pretraining_sizes_are_the_papers(pretraining_model):
    assert millions(pretraining_model.backbone) == pytest.approx(85.7, abs=0.2)
    assert millions(pretraining_model.neck) == pytest.approx(14.2, abs=0.1)
    assert pretraining_model.neck.layer == 9
    assert len(pretraining_model.neck.cls_pt_layers) == 2
    quantizer = pretraining_model.target_generator.quantize
    assert (quantizer.num_codes, quantizer.code_dim) == (8192, 32)


def test_tokenizer_training_has_the_official_tensors(official_layouts):
    cfg = load_config(TOKENIZER)
    cfg.model.teacher = dict(type='mmengine.FixedTeacher', embed_dim=512)
    with torch.device('meta'):
        model = ROOT_MODELS.build(cfg.model)
    (official,) = [v for k, v in official_layouts.items() if k.startswith('tokenizer')]
    assert shapes(model.state_dict()) == {
        n: s for n, s in official.items() if not n.endswith(DERIVED)
    }


def test_tokenizer_of_both_configs_is_the_same():
    pretraining, training = load_config(PRETRAINING).model, load_config(TOKENIZER).model
    assert pretraining.target_generator.encoder == training.encoder
    for name in ('num_codes', 'code_dim'):
        assert pretraining.target_generator.quantizer[name] == training.quantizer[name]


def test_teacher_without_network_names_the_file_to_place(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_OFFLINE', True)
    monkeypatch.setattr(huggingface_hub.constants, 'HF_HUB_CACHE', str(tmp_path))
    cfg = load_config(TOKENIZER)
    cfg.model.encoder.depth = cfg.model.decoder.depth = 1
    with pytest.raises(FileNotFoundError, match=r'ViT-B-16.*pretrained='):
        ROOT_MODELS.build(cfg.model)


def test_missing_tokenizer_is_an_error_before_training(tmp_path):
    cfg = load_config(PRETRAINING, {'tokenizer_checkpoint': str(tmp_path / 'none.pth')})
    generator = dict(cfg.model.target_generator)
    generator['encoder'] = dict(img_size=32, embed_dim=64, depth=1, num_heads=1)
    tokenizer = ROOT_MODELS.build(generator)
    with pytest.raises(FileNotFoundError, match=r'none\.pth'):
        tokenizer.init_weights()


@pytest.mark.slow
def test_one_training_step_of_the_base_config(tmp_path):
    """ViT-B/16 with an 8192 × 32 tokenizer, batch 2, on the CPU."""
    cfg = load_config(PRETRAINING, {'tokenizer_checkpoint': str(tmp_path / 'tokenizer.pth')})
    random_tokenizer = VQKDTokenizer(
        encoder=cfg.model.target_generator.encoder,
        quantizer=dict(num_codes=8192, code_dim=32, kmeans_init=False),
    )
    torch.save(random_tokenizer.state_dict(), tmp_path / 'tokenizer.pth')
    model = ROOT_MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    model.init_weights()
    model.train()
    wrapper = build_optim_wrapper(model, cfg.optim_wrapper)
    before = {n: v.clone() for n, v in model.target_generator.state_dict().items()}
    batch = dict(
        inputs=[torch.randint(256, (3, 224, 224), dtype=torch.uint8) for _ in range(2)],
        data_samples=[DataSample(), DataSample()],
    )
    for sample in batch['data_samples']:
        sample.set_field((torch.randperm(196) < 75).view(14, 14), 'mask')
    first = model.train_step(batch, wrapper)
    assert first['loss_mim'].item() == pytest.approx(9.01, abs=0.2)  # ln 8192
    assert first['loss_cls'].item() == pytest.approx(9.01, abs=0.2)
    with torch.no_grad():
        second = model(**model.data_preprocessor(batch, True), mode='loss')
    assert second['loss_mim'] < first['loss_mim']
    assert all(torch.equal(before[n], v) for n, v in model.target_generator.state_dict().items())


@pytest.mark.parametrize('name', ['no-aggregation', 'random-mask', 'low-level'])
def test_demo_ablation_changes_one_thing(name):
    base = load_config(CONFIGS / 'demo/beitv2_demo.py')
    ablation = load_config(CONFIGS / f'demo/beitv2_demo_{name}.py')
    changed = {
        'no-aggregation': lambda cfg: cfg.model.update(neck=None),
        'random-mask': lambda cfg: [
            loader.update(dataset=None)
            for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader)
        ],
        'low-level': lambda cfg: cfg.model.target_generator.update(init_cfg=None),
    }[name]
    assert base.model != ablation.model or base.train_dataloader != ablation.train_dataloader
    for cfg in (base, ablation):
        changed(cfg)
    for part in ('model', 'train_dataloader', 'val_dataloader', 'test_dataloader', 'train_cfg'):
        assert base[part] == ablation[part]

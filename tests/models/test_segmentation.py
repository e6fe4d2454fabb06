"""The backbone in mmsegmentation: any image size, the peer's features, the optimiser's groups."""

from pathlib import Path

import pytest
import torch
from mmengine.model import revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.testing import assert_close

from mmbeitv2.launch.config import load_config
from mmbeitv2.models import BEiTViT

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / 'configs' / 'segmentation'
WIDTH, LAYERS, CLASSES = 24, 3, 5


@pytest.fixture(autouse=True)
def mmseg_scope():
    import mmseg.models  # noqa: F401  registers UperNet

    with DefaultScope.overwrite_default_scope('mmseg'):
        yield


@pytest.fixture
def upernet():
    cfg = load_config(CONFIGS / 'upernet_beitv2-b16_1600e_160k_ade20k-512x512.py').model
    cfg.backbone.update(
        arch=dict(embed_dim=WIDTH, depth=4, num_heads=3),
        img_size=64,
        out_indices=(0, 1, 2, 3),
        init_cfg=None,
    )
    cfg.neck.embed_dim = WIDTH
    cfg.decode_head.update(in_channels=[WIDTH] * 4, channels=8, num_classes=CLASSES)
    cfg.auxiliary_head.update(in_channels=WIDTH, channels=8, num_classes=CLASSES)
    cfg.test_cfg.update(crop_size=(64, 64), stride=(43, 43))
    return revert_sync_batchnorm(MODELS.build(cfg)).eval()


@pytest.mark.parametrize(
    'size',
    [(64, 64), (40, 48), (150, 64), (64, 150), (101, 99), (33, 200)],
    ids=['crop', 'smaller', 'higher', 'wider', 'no multiple of a patch', 'thin'],
)
@torch.no_grad()
def test_sliding_inference_of_any_image_size(upernet, size):
    images = torch.randn(1, 3, *size)
    (sample,) = upernet.predict(images)
    assert sample.seg_logits.data.shape == (CLASSES, *size)
    assert sample.seg_logits.data.isfinite().all()
    assert sample.pred_sem_seg.data.shape == (1, *size)


@torch.no_grad()
def test_an_image_no_larger_than_the_crop_is_one_window(upernet):
    for size in ((64, 64), (48, 33)):
        images = torch.randn(1, 3, *size)
        metas = [dict(img_shape=size, ori_shape=size)]
        whole = upernet.whole_inference(images, metas)
        assert_close(upernet.slide_inference(images, metas), whole)


@torch.no_grad()
def test_windows_overlap_by_averaging(upernet):
    images = torch.randn(1, 3, 64, 107)  # two windows, 43 pixels apart
    metas = [dict(img_shape=(64, 107), ori_shape=(64, 107))]
    logits = upernet.slide_inference(images, metas)
    left = upernet.whole_inference(images[..., :64], metas)
    right = upernet.whole_inference(images[..., 43:], metas)
    assert_close(logits[..., :43], left[..., :43])
    assert_close(logits[..., 64:], right[..., 21:])
    assert_close(logits[..., 43:64], (left[..., 43:] + right[..., :21]) / 2)


@pytest.mark.parametrize('size', [224, 512, 640, (512, 1024), (500, 333)])
@torch.no_grad()
def test_feature_maps_at_the_sizes_of_the_recipes(size):
    backbone = BEiTViT(
        arch=dict(embed_dim=WIDTH, depth=LAYERS, num_heads=3),
        img_size=512,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        final_norm=None,
        out_type='featmap',
        out_indices=(0, 2),
    )
    height, width = (size, size) if isinstance(size, int) else size
    for features in backbone(torch.randn(1, 3, height, width)):
        assert features.shape == (1, WIDTH, -(-height // 16), -(-width // 16))


@pytest.fixture
def pretraining_file(tmp_path):
    """Checkpoint as pretraining writes it: a shared bias of 14×14 patches."""
    backbone = BEiTViT(
        arch=dict(embed_dim=WIDTH, depth=LAYERS, num_heads=3),
        init_values=0.1,
        use_abs_pos_emb=False,
        use_shared_rel_pos_bias=True,
        use_mask_token=True,
    )
    backbone.init_weights()
    nn.init.normal_(backbone.rel_pos_bias.relative_position_bias_table)
    state = {f'backbone.{name}': value for name, value in backbone.state_dict().items()}
    torch.save(dict(state_dict=state), tmp_path / 'pretrained.pth')
    return str(tmp_path / 'pretrained.pth')


@pytest.mark.parametrize('size', [512, 640])
@torch.no_grad()
def test_features_are_those_of_mmsegmentations_beit(size, pretraining_file, monkeypatch):
    from mmseg.models.backbones import BEiT

    monkeypatch.syspath_prepend(ROOT / 'tools' / 'benchmark')
    from peers import to_mmseg_names

    ours = BEiTViT(
        arch=dict(embed_dim=WIDTH, depth=LAYERS, num_heads=3),
        img_size=size,
        init_values=0.1,
        use_abs_pos_emb=False,
        use_rel_pos_bias=True,
        final_norm=None,
        out_type='featmap',
        out_indices=(0, 2),
        init_cfg=dict(type='Pretrained', checkpoint=pretraining_file),
    )
    ours.init_weights()
    peer = BEiT(
        img_size=size,
        embed_dims=WIDTH,
        num_layers=LAYERS,
        num_heads=3,
        out_indices=(0, 2),
        norm_cfg=dict(type='LN', eps=1e-6),
    )
    left = peer.load_state_dict(to_mmseg_names(ours.state_dict()), strict=False)
    # Grid and heads, which mmsegmentation has no place for.
    assert not left.unexpected_keys
    assert {name.split('.')[-1] for name in left.missing_keys} == {'relative_position_index'}
    images = torch.randn(1, 3, size, size)
    ours.eval()
    peer.eval()  # returns nothing
    for a, b in zip(ours(images), peer(images)):
        assert_close(a, b, atol=1e-4, rtol=0)


def test_layer_decay_reaches_the_backbone_and_leaves_the_heads_alone(upernet):
    cfg = load_config(CONFIGS / 'upernet_beitv2-b16_1600e_160k_ade20k-512x512.py')
    groups = build_optim_wrapper(upernet, cfg.optim_wrapper).optimizer.param_groups
    assert len(groups) == 2 * 6  # decayed or not, at 6 depths
    of_parameter = {id(p): group for group in groups for p in group['params']}
    found = {
        name: (of_parameter[id(p)]['lr'], of_parameter[id(p)]['weight_decay'])
        for name, p in upernet.named_parameters()
    }
    rate = 5e-5
    for name, (lr, decay) in found.items():
        if name.startswith(('decode_head', 'auxiliary_head', 'neck')):
            assert lr == pytest.approx(rate), name
        if name.endswith(('bias', 'cls_token', 'norm1.weight', 'gamma_1')):
            assert decay == 0, name
    assert found['backbone.cls_token'] == (pytest.approx(rate * 0.75**5), 0)
    assert found['backbone.patch_embed.proj.weight'] == (pytest.approx(rate * 0.75**5), 0.05)
    assert found['backbone.blocks.3.attn.relative_position_bias_table'] == (
        pytest.approx(rate * 0.75),
        0.05,
    )


@pytest.mark.parametrize(
    ('name', 'arch', 'lr', 'decay', 'drop_path', 'layers', 'stride'),
    [
        ('b16_300e_160k_ade20k-512x512', 'base', 5e-5, 0.75, 0.15, (4, 6, 8, 12), 341),
        ('b16_1600e_160k_ade20k-512x512', 'base', 5e-5, 0.75, 0.15, (4, 6, 8, 12), 341),
        ('b16_in21k_160k_ade20k-512x512', 'base', 5e-5, 0.85, 0.15, (4, 6, 8, 12), 341),
        ('l16_300e_160k_ade20k-512x512', 'large', 4e-5, 0.9, 0.2, (8, 12, 16, 24), 341),
        ('l16_1600e_160k_ade20k-512x512', 'large', 4e-5, 0.9, 0.2, (8, 12, 16, 24), 341),
        ('l16_in21k_160k_ade20k-512x512', 'large', 3e-5, 0.9, 0.2, (8, 12, 16, 24), 341),
        ('b16_1600e_160k_ade20k-640x640', 'base', 5e-5, 0.75, 0.15, (4, 6, 8, 12), 426),
        ('b16_in21k_160k_ade20k-640x640', 'base', 5e-5, 0.85, 0.15, (4, 6, 8, 12), 426),
        ('l16_1600e_160k_ade20k-640x640', 'large', 4e-5, 0.9, 0.2, (8, 12, 16, 24), 426),
        ('l16_in21k_160k_ade20k-640x640', 'large', 3e-5, 0.9, 0.2, (8, 12, 16, 24), 426),
    ],
)
def test_configs_hold_the_values_of_table_11(name, arch, lr, decay, drop_path, layers, stride):
    cfg = load_config(CONFIGS / f'upernet_beitv2-{name}.py')
    backbone, width = cfg.model.backbone, 768 if arch == 'base' else 1024
    size = int(name[-3:])
    assert backbone.arch == arch
    assert backbone.drop_path_rate == drop_path
    assert tuple(i + 1 for i in backbone.out_indices) == layers
    assert cfg.model.decode_head.channels == width
    assert cfg.model.decode_head.in_channels == [width] * 4
    assert cfg.model.auxiliary_head.loss_decode.loss_weight == 0.4
    assert cfg.model.test_cfg == dict(mode='slide', crop_size=(size,) * 2, stride=(stride,) * 2)
    assert cfg.optim_wrapper.optimizer == dict(
        type='AdamW', lr=lr, betas=(0.9, 0.999), weight_decay=0.05, fused=True
    )
    assert cfg.optim_wrapper.paramwise_cfg == dict(layer_decay_rate=decay)
    warm_up, decline = cfg.param_scheduler
    assert (warm_up.end, decline.begin, decline.end, decline.power) == (1500, 1500, 160000, 1.0)
    assert (cfg.train_cfg.max_iters, cfg.train_dataloader.batch_size) == (160000, 2)
    pipeline = {t['type']: t for t in cfg.train_dataloader.dataset.pipeline[0].transforms}
    assert pipeline['RandomResize'].scale == (4 * size, size)
    assert pipeline['RandomCrop'].crop_size == cfg.model.data_preprocessor.size == (size, size)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.pipeline[1].scale == (4 * size, size)
    scales = [t.scale[1] / size for t in cfg.tta_pipeline[1].transforms[0]]
    assert scales == [0.5, 0.75, 1.0, 1.25, 1.5, 1.75]


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*.py')), ids=lambda path: path.stem)
def test_every_config_builds_its_model(path):
    cfg = load_config(path).model
    cfg.backbone.init_cfg = None
    with torch.device('meta'):
        model = MODELS.build(cfg)
    assert model.backbone.grid == tuple(side // 16 for side in cfg.data_preprocessor.size)


@torch.no_grad()
def test_logits_are_float32_under_autocast(upernet):
    images = torch.randn(2, 3, 64, 64)
    heads = (upernet.decode_head, upernet.auxiliary_head)
    for head in heads:
        nn.init.normal_(head.conv_seg.weight)
    seen = []
    for head in heads:
        head.conv_seg.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    with torch.autocast('cpu', torch.bfloat16):
        features = upernet.extract_feat(images)
        logits = [head(features) for head in heads]
        (sample, _) = upernet.predict(images)
    assert {out.dtype for out in logits} == {torch.float32}
    for head, (feature, out) in zip(heads, seen):
        assert torch.equal(out, head.conv_seg(feature.float()))
    assert sample.seg_logits.data.dtype == torch.float32

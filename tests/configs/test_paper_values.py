"""Every config, built at its real size on the meta device, has the paper's values."""

from pathlib import Path

import open_clip
import pytest
import timm
import torch
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS as ROOT_MODELS
from mmengine.registry import DefaultScope
from paper_values import PAPER_VALUES, ROBUSTNESS_CLASSES
from torch import nn

from mmbeitv2.checkpoints.catalogue import catalogue
from mmbeitv2.launch.config import load_config
from mmbeitv2.models import TimmViT

CONFIGS = Path(__file__).parents[2] / 'configs'
# Tested by the demo's chain, the example's tests and the segmentation tests.
ELSEWHERE = ('_base_', 'demo', 'example', 'segmentation')


def test_every_config_is_in_the_table():
    found = {
        str(path.relative_to(CONFIGS))
        for path in CONFIGS.rglob('*.py')
        if path.relative_to(CONFIGS).parts[0] not in ELSEWHERE
    }
    assert found == set(PAPER_VALUES)


@pytest.mark.parametrize('config', sorted(PAPER_VALUES))
def test_config_has_the_papers_values(config):
    kind, expected = PAPER_VALUES[config]
    cfg = load_config(CONFIGS / config)
    teacher = dict(cfg.model.get('teacher', {}))
    if teacher:
        # The values of the real one are checked without its weights, which are a download.
        cfg.model.teacher = dict(type='mmengine.FixedTeacher', embed_dim=teacher_width(teacher))
    with DefaultScope.overwrite_default_scope('mmpretrain'), torch.device('meta'):
        model = ROOT_MODELS.build({**cfg.model, 'data_preprocessor': cfg.data_preprocessor})
    found = {**MEASURES[kind](model, cfg), **schedule(cfg)}
    if teacher:
        weights = teacher.get('pretrained')
        found['teacher'] = (teacher['type'].split('.')[-1], teacher['model'], weights)
    if kind == 'finetuning':
        found['layer_decay'] = layer_decay(model, cfg)
    assert found.keys() == expected.keys()
    differences = {
        name: (found[name], value)
        for name, value in expected.items()
        if found[name] != pytest.approx(value)
    }
    assert differences == {}


@pytest.mark.parametrize('variant', ROBUSTNESS_CLASSES)
@pytest.mark.parametrize('model', ['b', 'l'])
def test_robustness_config_tests_on_its_classes(variant, model):
    cfg = load_config(CONFIGS / f'robustness/beitv2_vit-{model}16_imagenet-{variant}.py')
    assert cfg.test_dataloader.dataset.data_root == f'data/imagenet-{variant}/'
    assert cfg.test_evaluator.type == 'mmbeitv2.ImageNetSubsetAccuracy'
    assert cfg.test_evaluator.num_classes == ROBUSTNESS_CLASSES[variant]
    assert cfg.val_dataloader.dataset.data_root == 'data/imagenet/'


@pytest.mark.parametrize('model', ['b', 'l'])
def test_reassessed_labels_are_of_the_validation_photos(model):
    cfg = load_config(CONFIGS / f'robustness/beitv2_vit-{model}16_imagenet-real.py')
    dataset = cfg.test_dataloader.dataset
    assert (dataset.data_root, dataset.data_prefix) == ('data/imagenet/', 'val')
    assert cfg.test_evaluator.type == 'mmbeitv2.ImageNetReaLAccuracy'


@pytest.mark.parametrize('config', [c for c, (k, _) in PAPER_VALUES.items() if k == 'pretraining'])
def test_tokenizer_is_the_one_that_its_config_trains(config):
    """Paths, numbers of codes and widths of the two configs agree."""
    cfg = load_config(CONFIGS / config)
    published = catalogue().get(cfg.tokenizer_checkpoint)
    if published is None:
        stem = Path(cfg.tokenizer_checkpoint).parent.name
        (trained_by,) = [path for path in CONFIGS.rglob('*.py') if path.stem == stem]
    else:
        assert published.kind == 'tokenizer'
        trained_by = CONFIGS / published.config
    training = load_config(trained_by)
    generator = cfg.model.target_generator
    if published is None:
        assert Path(cfg.tokenizer_checkpoint).name == f'epoch_{training.train_cfg.max_epochs}.pth'
    assert generator.init_cfg.checkpoint == cfg.tokenizer_checkpoint
    assert generator.encoder == training.model.encoder
    for name in ('num_codes', 'code_dim'):
        assert generator.quantizer[name] == training.model.quantizer[name]


@pytest.mark.parametrize(
    'config',
    [c for c, (k, _) in PAPER_VALUES.items() if k in ('finetuning', 'linear_probe')],
)
def test_backbone_starts_from_what_another_config_writes(config):
    init_cfg = load_config(CONFIGS / config).model.backbone.get('init_cfg')
    if init_cfg is None:
        assert 'teacher' in config or config.startswith('robustness')
        return
    path = Path(init_cfg.checkpoint)
    (written_by,) = [p for p in CONFIGS.rglob('*.py') if p.stem == path.parent.name]
    assert path.name == f'epoch_{load_config(written_by).train_cfg.max_epochs}.pth'


@pytest.mark.parametrize('variant', ['clip', 'dino'])
def test_fine_tuned_teacher_exists_in_timm(variant):
    cfg = load_config(CONFIGS / f'ablation/finetune_teacher_{variant}.py')
    name = cfg.model.backbone.model
    assert name in timm.list_pretrained()
    for key in ('mean', 'std'):
        expected = [255 * value for value in getattr(timm.get_pretrained_cfg(name), key)]
        assert cfg.data_preprocessor[key] == pytest.approx(expected, abs=0.01)


def teacher_width(teacher):
    """Channels that the library declares for a teacher."""
    if teacher['type'] == 'mmbeitv2.CLIPTeacher':
        assert teacher['pretrained'] in open_clip.list_pretrained_tags_by_model(teacher['model'])
        return open_clip.get_model_config(teacher['model'])['embed_dim']
    assert teacher['model'] in timm.list_pretrained()
    with torch.device('meta'):
        return timm.create_model(teacher['model']).embed_dim


def architecture(vit):
    return vit.depth, vit.embed_dim, vit.num_heads


def relative_positions(vit):
    if vit.rel_pos_bias is not None:
        return 'shared'
    return 'per layer' if hasattr(vit.blocks[0].attn, 'relative_position_bias_table') else None


def drop_rates(blocks):
    """Of the first and the last block."""
    return tuple(_drop_rate(blocks[i]) for i in (0, -1))


def _drop_rate(block):
    paths = [m.drop_prob for m in block.modules() if type(m).__name__ == 'DropPath']
    return paths[0] if paths else 0.0


def vit_values(vit):
    return dict(
        patch_size=vit.patch_size,
        image_size=vit.img_size[0],
        absolute_positions=vit.pos_embed is not None,
        relative_positions=relative_positions(vit),
        layer_scale=vit.init_values,
    )


def transforms(pipeline):
    """Every transform of a pipeline by the last part of its name, nested ones too."""
    found = {}
    for transform in pipeline:
        found.update(transforms(transform.get('transforms', ())))
        found[transform['type'].split('/')[-1].split('.')[-1]] = transform
    return found


def train_transforms(cfg):
    return transforms(cfg.train_dataloader.dataset.pipeline)


def vqkd(model, cfg):
    crop = train_transforms(cfg)['LoadRandomCrop']
    assert crop['interpolation'] == 'bicubic'
    assert crop['size'] == cfg.data_preprocessor.image_size == model.encoder.img_size[0]
    assert cfg.val_evaluator.num_codes == model.quantize.num_codes
    assert model.decoder.grid == model.encoder.grid
    return dict(
        **vit_values(model.encoder),
        encoder=architecture(model.encoder),
        decoder=architecture(model.decoder),
        codes=model.quantize.num_codes,
        code_dim=model.quantize.code_dim,
        decay=model.quantize.decay,
        beta=model.quantize.beta,
        kmeans=not model.quantize.initted,
        revive_below=model.quantize.revive_below,
        teacher_width=model.decode_task_layer[-1].out_features,
        crop=tuple(crop['scale']),
    )


def pretraining(model, cfg):
    student, neck, found = model.backbone, model.neck, train_transforms(cfg)
    masks = [t for t in found.values() if t['type'].endswith('Mask')]
    assert masks == [
        t
        for t in transforms(cfg.val_dataloader.dataset.pipeline).values()
        if t['type'].endswith('Mask')
    ]
    (mask,) = masks
    crop = found['LoadRandomCrop']
    assert crop['interpolation'] == 'bicubic'
    assert crop['size'] == cfg.data_preprocessor.image_size == student.img_size[0]
    jitter = found['JitterCrop']
    return dict(
        **vit_values(student),
        student=architecture(student),
        drop_path=drop_rates(student.blocks),
        aggregation_layer=neck and neck.layer,
        aggregation_depth=neck and len(neck.cls_pt_layers),
        aggregation_layer_scale=neck and cfg.model.neck.init_values,
        aggregation_drop_path=neck and drop_rates(neck.cls_pt_layers),
        shared_head=model.head.cls_pt_lm_head is None,
        codes=model.head.num_codes,
        code_dim=model.target_generator.quantize.code_dim,
        tokenizer=architecture(model.target_generator.encoder),
        mask=(mask['type'].split('.')[-1], mask['num_masked'], mask['grid_size'] ** 2),
        smallest_block=mask.get('min_block'),
        crop=tuple(crop['scale']),
        jitter=tuple(jitter[name] for name in ('brightness', 'contrast', 'saturation')),
    )


def short_side_and_centre(cfg):
    """Short side and centre crop of the validation pipeline, in pixels."""
    if cfg.get('val_dataloader') is None:
        assert cfg.val_cfg is None
        return None
    found = transforms(cfg.val_dataloader.dataset.pipeline)
    crop = found['LoadCenterCrop']
    assert crop['interpolation'] == 'bicubic'
    return crop['short_side'], crop['size']


def classifier_values(model, cfg):
    backbone = model.backbone
    if isinstance(backbone, TimmViT):
        network = backbone.network
        assert isinstance(network.fc_norm, nn.LayerNorm)
        assert network.global_pool == 'avg'
        return dict(
            student=(len(network.blocks), network.embed_dim, network.blocks[0].attn.num_heads),
            patch_size=network.patch_embed.patch_size[0],
            image_size=network.patch_embed.img_size[0],
            absolute_positions=network.pos_embed is not None,
            relative_positions=None,
            layer_scale=None,
            drop_path=drop_rates(network.blocks),
        )
    assert (backbone.out_type, backbone.norm) == ('avg_featmap', None)
    assert isinstance(backbone.fc_norm, nn.LayerNorm)
    return dict(
        **vit_values(backbone),
        student=architecture(backbone),
        drop_path=drop_rates(backbone.blocks),
    )


def finetuning(model, cfg):
    found = train_transforms(cfg)
    augment, erase = found['RandAugment'], found['RandomErasing']
    batch = {
        type(a).__name__: a.alpha
        for a in getattr(model.data_preprocessor.batch_augments, 'augments', ())
    }
    values = classifier_values(model, cfg)
    crop = found['LoadRandomCrop']
    assert (crop['size'], crop['interpolation']) == (values['image_size'], 'bicubic')
    assert cfg.data_preprocessor.num_classes == model.head.num_classes
    return dict(
        **values,
        pooling='mean of patches, norm, linear',
        head_std=cfg.model.head.init_cfg.std,
        classes=model.head.num_classes,
        label_smoothing=model.head.loss_module.label_smooth_val,
        mixup=batch.get('Mixup'),
        cutmix=batch.get('CutMix'),
        crop=tuple(crop['scale']),
        flip=crop['flip_prob'],
        # That its operations are timm's is tested with mmpretrain's table.
        rand_augment=tuple(
            augment[name] for name in ('num_policies', 'magnitude_level', 'magnitude_std')
        ),
        # With a deviation, every pixel is drawn.
        random_erasing=(erase['erase_prob'], 'rand' if erase['fill_std'] else 'const'),
        test=short_side_and_centre(cfg),
        mean=cfg.data_preprocessor.mean[0],
    )


def linear_probe(model, cfg):
    rates = cfg.optim_wrapper.get('paramwise_cfg', {}).get('custom_keys', {'': dict(lr_mult=1)})
    assert set(rates) == set(model.head.rates or [''])
    assert not any(p.requires_grad for p in model.backbone.parameters())
    crop = train_transforms(cfg)['LoadRandomCrop']
    assert (crop['size'], crop['interpolation']) == (model.backbone.img_size[0], 'bicubic')
    return dict(
        **vit_values(model.backbone),
        student=architecture(model.backbone),
        frozen=model.backbone.frozen,
        classifiers=tuple(model.head.classifiers),
        rates=tuple(cfg.optim_wrapper.optimizer.lr * rate['lr_mult'] for rate in rates.values()),
        classes=model.head.num_classes,
        crop=tuple(crop['scale']),
        flip=crop['flip_prob'],
        test=short_side_and_centre(cfg),
        mean=cfg.data_preprocessor.mean[0],
    )


MEASURES = dict(
    vqkd=vqkd, pretraining=pretraining, finetuning=finetuning, linear_probe=linear_probe
)


def schedule(cfg):
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    schedulers = cfg.param_scheduler
    *warmup, cosine = schedulers if isinstance(schedulers, list) else [schedulers]
    assert cosine.type == 'CosineAnnealingLR'
    assert cosine.end == cfg.train_cfg.max_epochs
    assert cosine.begin == (warmup[0].end if warmup else 0)
    assert all(s.convert_to_iter_based for s in (*warmup, cosine))
    clip = cfg.optim_wrapper.get('clip_grad')
    least = cosine.get('eta_min')
    return dict(
        batch=cfg.auto_scale_lr.base_batch_size,
        lr=optimizer.lr,
        min_lr=cosine.eta_min_ratio * optimizer.lr if least is None else least,
        warmup=cosine.begin,
        epochs=cfg.train_cfg.max_epochs,
        betas=tuple(optimizer.betas),
        weight_decay=optimizer.weight_decay,
        clip_grad=clip and clip.max_norm,
    )


def layer_decay(model, cfg):
    """Rate of one layer over that of the next, in the groups that the optimiser gets."""
    # A fused optimiser does not exist on the meta device.
    cfg.optim_wrapper.optimizer.fused = False
    groups = build_optim_wrapper(model, cfg.optim_wrapper).optimizer.param_groups
    rates = sorted({group['lr'] for group in groups})
    blocks = (
        model.backbone.network.blocks
        if isinstance(model.backbone, TimmViT)
        else model.backbone.blocks
    )
    assert len(rates) == len(blocks) + 2
    assert rates[-1] == pytest.approx(cfg.optim_wrapper.optimizer.lr)
    return rates[0] / rates[1]

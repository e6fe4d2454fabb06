"""What the paper and the official release use, once, for every config: Tables 4 to 10.

Rates belong to the total batch beside them. Steps are (first epoch, last epoch).
"""

VIT_B, VIT_L = (12, 768, 12), (24, 1024, 16)  # depth, width, heads
BLOCKS, RANDOM = 'BlockMask', 'RandomMask'

VQKD = dict(
    encoder=VIT_B,
    decoder=(3, 768, 12),
    patch_size=16,
    image_size=224,
    absolute_positions=True,
    relative_positions=None,
    layer_scale=None,
    codes=8192,
    code_dim=32,
    decay=0.99,
    beta=1.0,
    kmeans=True,
    revive_below=None,
    teacher=('CLIPTeacher', 'ViT-B-16', 'openai'),
    teacher_width=512,
    crop=(0.08, 1.0),
    batch=512,
    lr=2e-4,
    min_lr=1e-5,
    warmup=10,
    epochs=100,
    betas=(0.9, 0.99),
    weight_decay=1e-4,
    clip_grad=None,
)
DINO = dict(
    decoder=(1, 768, 12),
    teacher=('DINOTeacher', 'vit_base_patch16_224.dino', None),
    teacher_width=768,
)
PRETRAINING = dict(
    student=VIT_B,
    patch_size=16,
    image_size=224,
    absolute_positions=False,
    relative_positions='shared',
    layer_scale=0.1,
    drop_path=(0.0, 0.0),  # first and last layer
    aggregation_layer=9,
    aggregation_depth=2,
    aggregation_layer_scale=0.1,
    aggregation_drop_path=(0.0, 0.0),
    shared_head=True,
    codes=8192,
    code_dim=32,
    tokenizer=VIT_B,
    mask=(BLOCKS, 75, 196),
    smallest_block=16,
    crop=(0.2, 1.0),
    jitter=(0.4, 0.4, 0.4),
    batch=2048,
    lr=1.5e-3,
    min_lr=1e-5,
    warmup=10,
    epochs=300,
    betas=(0.9, 0.98),
    weight_decay=0.05,
    clip_grad=3.0,
)
LONG = dict(epochs=1600, betas=(0.9, 0.999), drop_path=(0.0, 0.1))
LARGE = dict(
    student=VIT_L,
    layer_scale=1e-5,
    aggregation_layer=21,
    aggregation_layer_scale=1e-5,
)
NO_AGGREGATION = dict(
    aggregation_layer=None,
    aggregation_depth=None,
    aggregation_layer_scale=None,
    aggregation_drop_path=None,
)
FINETUNING = dict(
    student=VIT_B,
    patch_size=16,
    image_size=224,
    absolute_positions=False,
    relative_positions='per layer',
    layer_scale=0.1,
    drop_path=(0.0, 0.1),
    pooling='mean of patches, norm, linear',
    head_std=2e-5,
    classes=1000,
    label_smoothing=0.1,
    mixup=0.8,
    cutmix=1.0,
    crop=(0.08, 1.0),
    flip=0.5,
    rand_augment=(2, 9, 0.5),
    random_erasing=(0.25, 'rand'),
    test=(256, 224),  # short side, centre
    batch=1024,
    lr=5e-4,
    min_lr=1e-6,
    warmup=20,
    epochs=100,
    betas=(0.9, 0.999),
    weight_decay=0.05,
    clip_grad=None,
    layer_decay=0.65,
)
FINETUNING_L = dict(
    student=VIT_L,
    layer_scale=1e-5,
    warmup=5,
    epochs=50,
    layer_decay=0.8,
    drop_path=(0.0, 0.2),
)
IN21K = dict(classes=21841, batch=4096, lr=6e-4, warmup=20, epochs=90, layer_decay=0.75, test=None)
AFTER_21K = dict(mixup=None, cutmix=None)
AFTER_21K_B = dict(AFTER_21K, lr=5e-5, epochs=30, layer_decay=0.75)
AFTER_21K_L = dict(AFTER_21K, lr=7e-5, epochs=20, drop_path=(0.0, 0.25))
PX384 = dict(image_size=384, test=(384, 384))
TOKENIZER_AS_STUDENT = dict(
    absolute_positions=True, relative_positions=None, layer_scale=None, mean=127.5
)
LINEAR_PROBE = dict(
    student=VIT_B,
    patch_size=16,
    image_size=224,
    absolute_positions=False,
    relative_positions='shared',
    layer_scale=0.1,
    frozen=True,
    classifiers=('cls',),
    rates=(4e-3,),
    classes=1000,
    crop=(0.08, 1.0),
    flip=0.5,
    test=(256, 224),
    batch=1024,
    lr=4e-3,
    min_lr=0.0,
    warmup=0,
    epochs=100,
    betas=(0.9, 0.999),
    weight_decay=1e-4,
    clip_grad=None,
)
SWEEP = dict(
    classifiers=tuple(
        f'layer{layer}_{feature}_{rate}'
        for layer in (8, 10, 12)
        for feature in ('cls', 'avg')
        for rate in ('lr1e-3', 'lr2e-3', 'lr4e-3', 'lr1e-2')
    ),
    rates=(1e-3, 2e-3, 4e-3, 1e-2),
)

_B300 = 'ablation/beitv2_vit-b16_300e'

# Classes of the robustness sets among ImageNet's 1000.
ROBUSTNESS_CLASSES = {'a': 200, 'r': 200, 'sketch': 1000, 'v2': 1000}
ROBUSTNESS = (*ROBUSTNESS_CLASSES, 'real')
EXPERIMENTS = {
    'vqkd': {
        'vqkd/vqkd_encoder-b16_decoder-3x768x12_clip-b16_100e.py': {},
        'vqkd/vqkd_encoder-b16_decoder-1x768x12_clip-b16_100e.py': dict(decoder=(1, 768, 12)),
        'vqkd/vqkd_encoder-b16_decoder-1x768x12_dino-b16_100e.py': DINO,
        'ablation/vqkd_decoder-6.py': dict(decoder=(6, 768, 12)),
        'ablation/vqkd_codes-4096.py': dict(codes=4096),
        'ablation/vqkd_codes-16384.py': dict(codes=16384),
        'ablation/vqkd_dim-16.py': dict(code_dim=16),
        'ablation/vqkd_dim-64.py': dict(code_dim=64),
        'own_data/vqkd_own-data.py': dict(decoder=(1, 768, 12), codes=1024, revive_below=0.1),
    },
    'pretraining': {
        'beitv2_vit-b16_300e.py': {},
        'beitv2_vit-b16_1600e.py': dict(LONG, aggregation_drop_path=(0.1 * 9 / 11, 0.1 * 10 / 11)),
        'beitv2_vit-l16_300e.py': LARGE,
        'beitv2_vit-l16_1600e.py': dict(
            LARGE, **LONG, aggregation_drop_path=(0.1 * 21 / 23, 0.1 * 22 / 23)
        ),
        f'{_B300}_tokenizer-decoder-1.py': {},
        f'{_B300}_tokenizer-decoder-6.py': {},
        f'{_B300}_tokenizer-codes-4096.py': dict(codes=4096),
        f'{_B300}_tokenizer-codes-16384.py': dict(codes=16384),
        f'{_B300}_tokenizer-dim-16.py': dict(code_dim=16),
        f'{_B300}_tokenizer-dim-64.py': dict(code_dim=64),
        f'{_B300}_tokenizer-dino.py': {},
        f'{_B300}_layer-6.py': dict(aggregation_layer=6),
        f'{_B300}_layer-11.py': dict(aggregation_layer=11),
        f'{_B300}_depth-1.py': dict(aggregation_depth=1),
        f'{_B300}_depth-3.py': dict(aggregation_depth=3),
        f'{_B300}_separate-head.py': dict(shared_head=False),
        f'{_B300}_no-aggregation.py': NO_AGGREGATION,
        f'{_B300}_random-mask.py': dict(mask=(RANDOM, 75, 196), smallest_block=None),
        'own_data/beitv2_own-data.py': dict(codes=1024),
    },
    'finetuning': {
        'finetune/beitv2_vit-b16_300e_in1k-224.py': {},
        'finetune/beitv2_vit-b16_1600e_in1k-224.py': dict(layer_decay=0.6, drop_path=(0.0, 0.2)),
        'finetune/beitv2_vit-l16_300e_in1k-224.py': FINETUNING_L,
        'finetune/beitv2_vit-l16_1600e_in1k-224.py': dict(FINETUNING_L, lr=2e-4),
        'finetune/beitv2_vit-b16_1600e_in21k.py': IN21K,
        'finetune/beitv2_vit-l16_1600e_in21k.py': dict(FINETUNING_L, **IN21K),
        'finetune/beitv2_vit-b16_in21k_in1k-224.py': AFTER_21K_B,
        'finetune/beitv2_vit-b16_in21k_in1k-384.py': dict(AFTER_21K_B, **PX384),
        'finetune/beitv2_vit-l16_in21k_in1k-224.py': {**FINETUNING_L, **AFTER_21K_L},
        'finetune/beitv2_vit-l16_in21k_in1k-384.py': {**FINETUNING_L, **AFTER_21K_L, **PX384},
        'ablation/finetune_vqkd-encoder_clip.py': TOKENIZER_AS_STUDENT,
        'ablation/finetune_vqkd-encoder_dino.py': TOKENIZER_AS_STUDENT,
        'ablation/finetune_teacher_clip.py': dict(TOKENIZER_AS_STUDENT, mean=122.771),
        'ablation/finetune_teacher_dino.py': dict(TOKENIZER_AS_STUDENT, mean=123.675),
        'own_data/finetune_own-data.py': dict(classes=10),
        **{f'robustness/beitv2_vit-b16_imagenet-{x}.py': {} for x in ROBUSTNESS},
        **{f'robustness/beitv2_vit-l16_imagenet-{x}.py': FINETUNING_L for x in ROBUSTNESS},
    },
    'linear_probe': {
        'linear_probe/beitv2_vit-b16_300e_cls.py': {},
        'linear_probe/beitv2_vit-b16_300e_no-aggregation_avg.py': dict(classifiers=('avg',)),
        'linear_probe/beitv2_vit-b16_300e_sweep.py': SWEEP,
    },
}
DEFAULTS = dict(
    vqkd=VQKD,
    pretraining=PRETRAINING,
    finetuning=dict(FINETUNING, mean=123.675),
    linear_probe=dict(LINEAR_PROBE, mean=123.675),
)
PAPER_VALUES = {
    config: (kind, {**DEFAULTS[kind], **changes})
    for kind, configs in EXPERIMENTS.items()
    for config, changes in configs.items()
}

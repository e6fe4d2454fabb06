"""The configs of a plan: ordinary files that the ordinary tools take."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from pprint import pformat
from typing import Any, NamedTuple

from mmbeitv2.launch.plan import LOOKS, PATCH, Plan, Stage

TOKENIZER_BASE = 'mmbeitv2::vqkd/vqkd_encoder-b16_decoder-1x768x12_clip-b16_100e.py'
PRETRAINING_BASE = 'mmbeitv2::beitv2_vit-b16_300e.py'
# The demo's: narrow layers and short runs need larger initial weights than the paper's.
NARROW_STD, NARROW_TOKENIZER_STD, NARROW_SCALE = 0.08, 0.043, 1.0
# The demo's tokenizer has 2e-3 for 279 steps of 64 photos. With it 800 steps of 32 photos of solar
# cells end at a held-out loss of 0.295, with 1e-3 at 0.206, and its codes stop changing; composites
# of the demo lose little by 1e-3 (0.390 instead of 0.374).
NARROW_RATES = dict(tokenizer=1e-3, pretraining=3e-3)
# The paper's 40 % in blocks, of which the smallest has 8 % of the patches, 4 at least.
MASKED, SMALLEST_BLOCK, FEWEST_IN_BLOCK = 0.4, 0.08, 4
WARM_UP = 0.05


class Start(NamedTuple):
    """Weights that pretraining goes on from.

    Attributes:
        parts: configs of backbone, neck and head, as the weights show them.
        whole: file of the very same model, for ``load_from``; None where the tokenizer is a new
            one, whose codes head and neck have still to learn.
        backbone: checkpoint of the backbone, where it alone goes on.
        normalization: mean and standard deviation that the weights were trained with, where their
            run noted them; ImageNet's unless given.
    """

    parts: dict[str, Any]
    whole: str | None
    backbone: str
    normalization: Sequence[Sequence[float]] = ()


class Data(NamedTuple):
    """Where the photos are.

    Attributes:
        folder: of the photos; of the run, where lists name none relative to a folder.
        train: list of those to train on, in the run's folder.
        held_out: list of the others.
        value_range: black and white of float and 32-bit photos.
        labelled: folder of class folders, to judge by alone.
        shown: where the photos are, for the reader.
    """

    folder: Path
    train: Path
    held_out: Path
    value_range: tuple[float, float] | None = None
    labelled: Path | None = None
    shown: str = ''


def tokenizer_config(plan: Plan, data: Data, teacher: Mapping[str, Any], seed: int) -> str:
    """Text of the tokenizer's config.

    Args:
        plan: with a tokenizer.
        data: the photos.
        teacher: its config.
        seed: of the run.
    """
    size, stage = plan.shape, plan.tokenizer
    assert stage is not None
    width = dict(embed_dim=size.embed_dim, num_heads=size.num_heads)
    initial = dict(init_std=NARROW_TOKENIZER_STD, recompute=False) if size.narrow else {}
    crop = _crop(plan, data, 0.6 if size.narrow else 0.08)
    pipeline = [_seeded(crop, dict(type='torchvision/RandomHorizontalFlip')), _pack()]
    held_out = [_centre(plan, data), _pack()]
    changes = dict(
        model=dict(
            encoder=dict(img_size=plan.image_size, depth=size.encoder_depth, **width, **initial),
            decoder=dict(depth=1, **width, **initial),
            quantizer=dict(
                num_codes=plan.num_codes,
                code_dim=size.code_dim,
                # A short run's codebook follows its encoder faster than the paper's.
                decay=0.95 if size.narrow else 0.99,
                revive_below=0.5 if size.narrow else 0.1,
            ),
            teacher=dict(_delete_=True, **teacher),
        ),
        data_preprocessor=dict(image_size=plan.image_size),
        val_evaluator=dict(num_codes=plan.num_codes),
        test_evaluator=dict(num_codes=plan.num_codes),
        **_loaders(stage, data, pipeline, held_out),
        **_schedule('tokenizer', stage, size.narrow, seed, None),
    )
    return _text('Tokenizer', TOKENIZER_BASE, changes, data)


def pretraining_config(
    plan: Plan, data: Data, tokenizer: Mapping[str, Any], seed: int, start: Start | None = None
) -> str:
    """Text of the pretraining's config.

    Args:
        plan: of the run.
        data: the photos.
        tokenizer: config of the ``target_generator``, its checkpoint included.
        seed: of the run.
        start: weights to go on from; None draws new ones.
    """
    size, stage = plan.shape, plan.pretraining
    width = dict(embed_dim=size.embed_dim, num_heads=size.num_heads)
    initial = {}
    if size.narrow:
        initial = dict(init_values=NARROW_SCALE, init_std=NARROW_STD, recompute=False)
    grid = plan.image_size // PATCH
    mask = dict(
        type='mmbeitv2.BlockMask',
        grid_size=grid,
        num_masked=round(MASKED * grid**2),
        min_block=max(FEWEST_IN_BLOCK, round(SMALLEST_BLOCK * grid**2)),
    )
    jitter = dict(type='mmbeitv2.JitterCrop', brightness=0.4, contrast=0.4, saturation=0.4)
    flip = dict(type='torchvision/RandomHorizontalFlip')
    crop = _crop(plan, data, 0.6 if size.narrow else 0.2)
    pipeline = [_seeded(crop, jitter, flip, mask), _pack('mask')]
    held_out = [_centre(plan, data), _seeded(mask), _pack('mask')]
    model = dict(
        backbone=dict(
            arch=plan.size
            if plan.size in ('base', 'large')
            else dict(_delete_=True, depth=size.depth, **width),
            img_size=plan.image_size,
            **initial,
        ),
        neck=dict(layer=size.layer, depth=1 if size.narrow else 2, **width, **initial),
        head=dict(embed_dim=size.embed_dim, num_codes=plan.num_codes),
        target_generator=dict(tokenizer),
    )
    if start is not None:
        model |= _started(start, plan.num_codes)
    views: dict[str, Any] = dict(image_size=plan.image_size)
    if start is not None and start.normalization:
        views |= dict(zip(('mean', 'std'), map(list, start.normalization)))
    changes = dict(
        model=model,
        data_preprocessor=views,
        **_loaders(stage, data, pipeline, held_out),
        **_schedule('pretraining', stage, size.narrow, seed, data.labelled),
        **({} if start is None or start.whole is None else dict(load_from=start.whole)),
    )
    return _text('Pretraining', PRETRAINING_BASE, changes, data)


def own_tokenizer(plan: Plan, checkpoint: str) -> dict[str, Any]:
    """Config of the tokenizer that a plan trains, as pretraining uses it."""
    size = plan.shape
    return dict(
        encoder=dict(
            img_size=plan.image_size,
            embed_dim=size.embed_dim,
            depth=size.encoder_depth,
            num_heads=size.num_heads,
        ),
        quantizer=dict(num_codes=plan.num_codes, code_dim=size.code_dim),
        init_cfg=dict(checkpoint=checkpoint),
    )


def _started(start: Start, num_codes: int) -> dict[str, Any]:
    """Configs of the parts that go on from given weights."""
    parts = {name: dict(part) for name, part in start.parts.items() if part is not None}
    backbone = parts['backbone']
    backbone['arch'] = dict(_delete_=True, **backbone['arch'])
    if start.whole is None:
        backbone['init_cfg'] = dict(type='Pretrained', checkpoint=start.backbone)
        parts['head']['num_codes'] = num_codes
    return parts if start.parts['neck'] is not None else parts | dict(neck=None)


def _crop(plan: Plan, data: Data, smallest: float) -> dict[str, Any]:
    return dict(
        type='mmbeitv2.LoadRandomCrop',
        size=plan.image_size,
        scale=(smallest, 1.0),
        interpolation='bicubic',
        value_range=data.value_range,
    )


def _centre(plan: Plan, data: Data) -> dict[str, Any]:
    return dict(
        type='mmbeitv2.LoadCenterCrop',
        size=plan.image_size,
        interpolation='bicubic',
        value_range=data.value_range,
    )


def _seeded(*transforms: dict[str, Any]) -> dict[str, Any]:
    return dict(type='mmbeitv2.SampleSeeded', transforms=list(transforms))


def _pack(*keys: str) -> dict[str, Any]:
    return dict(type='PackInputs', **(dict(algorithm_keys=list(keys)) if keys else {}))


def _loaders(stage: Stage, data: Data, train: list[Any], held_out: list[Any]) -> dict[str, Any]:
    def dataset(list_file: Path, pipeline: list[Any], **more: Any) -> dict[str, Any]:
        return dict(
            data_root=str(data.folder),
            data_prefix='',
            ann_file=str(list_file),
            pipeline=pipeline,
            **more,
        )

    # What could be read yesterday may be gone today; a run of days must not end at it.
    training = dataset(data.train, train, on_error='replace')
    held = dict(batch_size=stage.batch, dataset=dataset(data.held_out, held_out))
    return dict(
        train_dataloader=dict(batch_size=stage.batch, dataset=training),
        val_dataloader=held,
        test_dataloader=held,
    )


def _schedule(
    name: str, stage: Stage, narrow: bool, seed: int, labelled: Path | None
) -> dict[str, Any]:
    # After a warm-up of one step mmengine's cosine goes on from its tiny first rate.
    warm_up = max(2, round(WARM_UP * stage.steps))
    cosine = dict(type='CosineAnnealingLR', eta_min=1e-5, by_epoch=False)
    total = stage.batch * stage.processes
    rate = dict(optimizer=dict(lr=NARROW_RATES[name])) if narrow else {}
    return dict(
        # The rates of narrow models belong to the batch that they are trained with.
        auto_scale_lr=dict(base_batch_size=total, enable=False) if narrow else dict(enable=True),
        **(dict(optim_wrapper=rate) if rate else {}),
        # By steps: an epoch of few photos is short.
        param_scheduler=[
            dict(type='LinearLR', start_factor=1e-9, by_epoch=False, begin=0, end=warm_up),
            dict(cosine, begin=warm_up, end=max(warm_up + 1, stage.steps)),
        ],
        train_cfg=dict(
            max_epochs=stage.epochs,
            val_interval=max(1, stage.epochs // LOOKS),
        ),
        default_hooks=dict(
            logger=dict(interval=max(1, min(50, stage.steps // 50))),
            # Is it learning? docs/own_data.md
            learning=dict(
                type='mmbeitv2.LearningHook',
                interval=max(1, stage.epochs // LOOKS),
                **({} if labelled is None else dict(labels=str(labelled))),
            ),
            learning_page=dict(type='mmbeitv2.LearningPageHook'),
        ),
        randomness=dict(seed=seed),
    )


def _text(what: str, base: str, changes: Mapping[str, Any], data: Data) -> str:
    photos = data.shown or str(data.folder)
    title = f'# {what} on the photos of {photos!r}, written by `mmbeitv2 pretrain`.'
    lines = [title, '', f'_base_ = {base!r}', '']
    lines += [f'{name} = {pformat(value, sort_dicts=False)}' for name, value in changes.items()]
    return '\n'.join(lines) + '\n'

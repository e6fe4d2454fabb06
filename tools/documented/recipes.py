"""The paper's recipes and the templates, cut to a step: real size, random weights, demo photos."""

import re

from mmbeitv2.checkpoints.catalogue import catalogue
from mmbeitv2.launch.config import load_config

RECIPE = re.compile(
    r'^(?:NNODES=\d+ )?'
    r'(?:python tools/(?P<tool>train|test)\.py|tools/dist_(?P<dist>train|test)\.sh)'
    r' (?P<config>configs/(?!demo/|example/)\S+\.py)(?P<checkpoint> CHECKPOINT)?(?P<gpus> \d+)?'
    r'(?P<rest>.*)$'
)
# Networks that need no download: see random_weights.py.
TEACHERS = {
    'clip': ['model.teacher.model=ViT-S-16', 'model.teacher.pretrained=work_dirs/random/clip.pt'],
    'dino': ['model.teacher.checkpoint=work_dirs/random/dino.pth'],
}


def shorten_recipe(recipe: re.Match) -> tuple[str, str]:
    """One process and step of a recipe, at its real size, on demo photos.

    Args:
        recipe: match of ``RECIPE``.

    Returns:
        the line, and what was changed.
    """
    config = recipe['config']
    tool = recipe['tool'] or recipe['dist']
    start = f'python tools/{tool}.py {config}'
    if recipe['dist']:
        start = f'tools/dist_{tool}.sh {config}'
    if recipe['checkpoint']:
        start += f' {random_checkpoint(config)}'
    if recipe['gpus']:
        start += ' 1'
    options = _test_options() if tool == 'test' else _train_options(config)
    line = f'{start}{recipe["rest"]} --cfg-options {" ".join(options)}'
    return line, 'one process, one step of its real model on demo photos'


def random_checkpoint(config: str) -> str:
    """Path of the file of random weights that stands in for a trained model of a config."""
    return f'work_dirs/random/{config.rpartition("/")[2].removesuffix(".py")}.pth'


def stand_in(name: str) -> str:
    """Path of the file of random weights that stands in for published ones."""
    return f'work_dirs/random/{name}.pth'


def _loader(name: str, images: int) -> list[str]:
    return [
        f'{name}_dataloader.{option}'
        for option in (
            f'batch_size={images}',
            'num_workers=0',
            'persistent_workers=False',
            f'dataset.indices={images}',
        )
    ]


def _test_options() -> list[str]:
    return _loader('test', 4)


def _train_options(config: str) -> list[str]:
    # One is too few for batch norm and mixup.
    options = _loader('train', 2)
    if 'in21k.py' not in config:
        options += _loader('val', 1 if 'segmentation/' in config else 2)
    options += ['default_hooks.checkpoint.minutes=None', 'default_hooks.checkpoint.interval=-1']
    options.append('default_hooks.checkpoint.save_last=False')
    tokenizer = load_config(config).get('tokenizer_checkpoint')
    if tokenizer in catalogue():
        options.append(f'tokenizer_checkpoint={stand_in(tokenizer)}')
    if 'segmentation/' in config:
        return [*options, 'train_cfg.max_iters=1', 'train_cfg.val_interval=1']
    options += ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1']
    if '/vqkd_' in config:
        # As many codes as the patches of the two photos can begin.
        options += [
            f'{key}.num_codes=32' for key in ('model.quantizer', 'val_evaluator', 'test_evaluator')
        ]
        teacher = 'dino' if 'dino' in config else 'clip'
        options += TEACHERS[teacher]
    return options

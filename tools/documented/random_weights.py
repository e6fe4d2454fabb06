"""Files of random weights where a documented command reads trained ones.

    python -m documented.random_weights CONFIG [CHECKPOINT]

Run in a scratch copy: a config's missing tokenizer or backbone, its teacher's weights, and, if
``CHECKPOINT`` is given, its whole model.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import open_clip
import timm
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from documented.recipes import stand_in
from mmbeitv2.checkpoints.catalogue import catalogue
from mmbeitv2.launch.config import load_config

CLIP, DINO = Path('work_dirs/random/clip.pt'), Path('work_dirs/random/dino.pth')


def make_files(config: str, checkpoint: str | None = None) -> list[Path]:
    """Write what a config reads and this folder lacks.

    Args:
        config: path of the config.
        checkpoint: where the whole model's weights are wanted.

    Returns:
        the files written.
    """
    cfg = load_config(config)
    made = []
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        if checkpoint is not None and not Path(checkpoint).exists():
            made.append(save(Path(checkpoint), _whole(cfg).state_dict()))
        for name in ('target_generator', 'backbone'):
            made += _missing(cfg.model.get(name))
    if 'teacher' in cfg.model:
        made += teachers()
    return made


def _missing(part: Config | None) -> list[Path]:
    """What a part is initialised from: the model of the run that writes it, if without teacher.

    One file serves several configs, which read different tensors of it.
    """
    init = (part or {}).get('init_cfg') or {}
    wanted = init.get('checkpoint')
    published = catalogue().get(wanted)
    if published is not None:
        wanted = stand_in(wanted)
    if wanted is None or Path(wanted).exists():
        return []
    if published is not None:
        origin = Path('configs', published.config)
    else:
        (origin,) = Path('configs').rglob(f'{Path(wanted).parent.name}.py')
    cfg = load_config(origin)
    if 'teacher' not in cfg.model:
        return [save(Path(wanted), _whole(cfg).state_dict())]
    # A teacher is downloaded, and no part of what its run writes.
    weights = MODELS.build(without_files(part)).state_dict()
    prefix = init.get('prefix', '')
    return [save(Path(wanted), {f'{prefix}{name}': value for name, value in weights.items()})]


def _whole(cfg: Config) -> nn.Module:
    """The model of a config from random weights."""
    model = without_files(cfg.model)
    model.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    return MODELS.build(model)


def without_files(part: Mapping) -> Config:
    """A part of a model that starts from no file."""
    copy = Config(dict(part=part)).part.copy()
    for name, value in copy.items():
        if name == 'init_cfg':
            copy[name] = None
        elif isinstance(value, Mapping):
            copy[name] = without_files(value)
    if 'num_codes' in copy and 'code_dim' in copy:
        # Else the codebook is empty until a first training step.
        copy['kmeans_init'] = False
    return copy


def teachers() -> list[Path]:
    """Random weights of a small CLIP and of DINO's ViT."""
    made = []
    if not CLIP.exists():
        made.append(save(CLIP, open_clip.create_model('ViT-S-16').state_dict(), wrapped=False))
        model = timm.create_model('vit_base_patch16_224', num_classes=0)
        made.append(save(DINO, model.state_dict(), wrapped=False))
    return made


def save(path: Path, weights: Mapping[str, torch.Tensor], wrapped: bool = True) -> Path:
    """Write weights as a checkpoint of mmengine, or bare."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hosts look for what the data set notes in `meta`.
    torch.save(dict(meta={}, state_dict=weights) if wrapped else weights, path)
    return path


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    torch.manual_seed(0)
    for path in make_files(*(sys.argv[1:] if argv is None else argv)):
        print(f'random weights written to {path}')


if __name__ == '__main__':
    main()

"""A short pretraining on the codes of one tokenizer, and what its backbone knows by few labels."""

from typing import Any

import torch
from ablation_figures import five_label_figures
from mmengine.runner import Runner

from mmbeitv2.checkpoints.reading import read_state_dict
from mmbeitv2.errors import MissingFileError
from mmbeitv2.launch.config import load_config
from mmbeitv2.models import BEiTV2
from mmbeitv2.registry import MODELS

from .cells import Cell
from .quantizers import make_quantizer
from .settings import PRETRAINING, ROOT, Settings
from .tokenizers import optimisation, tokenizer_file


def build_backbone(cell: Cell) -> BEiTV2:
    """The demo's model for a cell's codes; backbones of a seed begin alike whatever K is."""
    config = load_config(str(ROOT / PRETRAINING)).model
    if cell.num_codes:
        config.head.num_codes = config.target_generator.quantizer.num_codes = cell.num_codes
    config.target_generator.init_cfg = None
    torch.manual_seed(cell.seed)
    model = MODELS.build(config)
    torch.manual_seed(cell.seed)
    model.init_weights()
    if cell.quantizer != 'ema':
        codes = model.target_generator.quantize
        codes = make_quantizer(cell.quantizer, codes.num_codes, codes.code_dim)
        model.target_generator.quantize = codes.requires_grad_(False).eval()
    return model


def untrained(cell: Cell, settings: Settings) -> dict[str, Any]:
    """What the same probe finds in the first weights of a seed."""
    return dict(figures=five_label_figures(build_backbone(cell).eval(), settings.data), history=[])


def pretrain(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Pretrain on the photos that the cell's tokenizer was trained on, and probe the backbone.

    Returns:
        Figures by name, and ``history``: loss and accuracy of every tenth of the run.

    Raises:
        FileNotFoundError: the tokenizer has been measured, but is not in this work directory.
    """
    model = build_backbone(cell)
    path = tokenizer_file(cell, settings)
    if not path.is_file():
        raise MissingFileError(
            f'{path} is missing, the tokenizer of {cell.name}: give the --work-dir that it was '
            'trained in, or take its line out of the record.'
        )
    weights = read_state_dict(str(path), False)
    wanted = model.target_generator.state_dict()
    model.target_generator.load_state_dict({name: weights[name] for name in wanted})
    config = load_config(str(ROOT / PRETRAINING))
    optimizer, schedules = optimisation(model, config.optim_wrapper, settings.pretraining_steps)
    history: list[dict[str, float]] = []
    tenth = max(1, settings.pretraining_steps // 10)
    for step, batch in enumerate(_batches(cell, settings), 1):
        model.train()
        logged = model.train_step(batch, optim_wrapper=optimizer)
        for schedule in schedules:
            schedule.step()
        if step % tenth == 0:
            history.append(dict(step=step, **{k: v.item() for k, v in logged.items()}))
    return dict(figures=five_label_figures(model.eval(), settings.data), history=history)


def _batches(cell: Cell, settings: Settings) -> Any:
    config = load_config(str(ROOT / PRETRAINING)).train_dataloader
    names = settings.list_of(cell.photos)
    config.dataset.update(data_root=str(settings.data), data_prefix='', ann_file=str(names))
    config.update(
        batch_size=settings.pretraining_batch,
        num_workers=0,
        persistent_workers=False,
        sampler=dict(type='mmbeitv2.EndlessSampler', shuffle=True),
    )
    loader = Runner.build_dataloader(config, seed=cell.seed)
    return (batch for _, batch in zip(range(settings.pretraining_steps), loader))

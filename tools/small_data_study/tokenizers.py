"""Training of one tokenizer of the study, from crops whose teacher features are known."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import PARAM_SCHEDULERS
from torch import Tensor, nn

from mmbeitv2.apis import for_tokenizer
from mmbeitv2.models import VQKD
from mmbeitv2.models.quantizer import l2_normalize
from mmbeitv2.registry import MODELS

from .cells import PATCHES, Cell
from .crops import Crops, teacher_config, tokenizer_config, training_crops
from .figures import HeldOut, changed_codes, figures_of, usage_figures
from .quantizers import make_quantizer
from .settings import WARM_UP, Settings

# Looks at held-out photos; the last is at the end.
LOOKS = 4
# Of k-means, as CodebookInitHook.
VECTORS_A_CODE = 8


class KnownFeatures(nn.Module):
    """A teacher whose features of the next images have been computed before.

    Args:
        embed_dim: channels of the features.
    """

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.features: Tensor | None = None

    def forward(self, images: Tensor, grid_size: tuple[int, int]) -> Tensor:
        """Features float32 ``(B, h * w, C)`` of the images that were announced."""
        features = self.features
        assert features is not None
        assert features.shape[:2] == (len(images), grid_size[0] * grid_size[1])
        return features


def revive_below(cell: Cell, batch: int) -> float | None:
    """Threshold of a cell's revival, in vectors a step."""
    mean = batch * PATCHES / cell.num_codes
    return dict(off=None, half=0.5, tenth=0.1 * mean)[cell.revival]


def build_tokenizer(cell: Cell, settings: Settings) -> VQKD:
    """The demo's tokenizer with a cell's codes, from the first weights of its seed.

    Encoder and decoder of a seed begin alike, whatever K and quantizer are.
    """
    config = tokenizer_config().model
    config.quantizer.num_codes = cell.num_codes
    config.quantizer.revive_below = revive_below(cell, settings.batch)
    config.teacher = teacher_config(settings, cell.teacher)
    torch.manual_seed(cell.seed)
    model = MODELS.build(config)
    if cell.quantizer != 'ema':
        model.quantize = make_quantizer(cell.quantizer, cell.num_codes, model.quantize.code_dim)
    torch.manual_seed(cell.seed)
    model.init_weights()
    model.teacher = KnownFeatures(model.teacher.embed_dim)
    return model


def train_tokenizer(cell: Cell, settings: Settings) -> dict[str, Any]:
    """Train a tokenizer, keep it, and measure it on held-out photos.

    Returns:
        Figures by name, and ``history``: usage and perplexity at every look.
    """
    crops = training_crops(settings, cell.photos, cell.teacher)
    held_out = HeldOut.of(settings, cell.teacher)
    model = build_tokenizer(cell, settings)
    if not model.quantize.initted:
        init_codebook(model, crops, cell.seed)
    optimizer, schedules = optimisation(model, tokenizer_config().optim_wrapper, settings.steps)
    looks = [round(settings.steps * (i + 1) / LOOKS) for i in range(LOOKS)]
    history, before, codes = [], None, None
    for step, chosen in enumerate(batches(len(crops.pixels), settings, cell.seed), 1):
        model.train()
        model.teacher.features = torch.from_numpy(crops.features[chosen]).float()
        images = for_tokenizer(torch.from_numpy(crops.pixels[chosen]))
        with optimizer.optim_context(model):
            losses = model(images, mode='loss')
        optimizer.update_params(model.parse_losses(losses)[0])
        for schedule in schedules:
            schedule.step()
        if step in looks:
            before, codes = codes, held_out.codes(model)
            history.append(dict(step=step, **usage_figures(codes, cell.num_codes)))
    save(model, tokenizer_file(cell, settings))
    figures = figures_of(model, held_out, crops)
    return dict(figures=figures | dict(changed=changed_codes(before, codes)), history=history)


def batches(count: int, settings: Settings, seed: int) -> Iterator[np.ndarray]:
    """Sorted numbers of the crops of every step, all of them once before any twice."""
    rng = np.random.default_rng(seed)
    order = np.empty(0, int)
    for _ in range(settings.steps):
        while len(order) < settings.batch:
            order = np.concatenate([order, rng.permutation(count)])
        # Sorted, for a memory map is read in order.
        yield np.sort(order[: settings.batch])
        order = order[settings.batch :]


@torch.no_grad()
def init_codebook(model: VQKD, crops: Crops, seed: int) -> None:
    """k-means of the first vectors, as ``CodebookInitHook`` sets it before the first step."""
    wanted = VECTORS_A_CODE * model.quantize.num_codes
    photos = min(len(crops.pixels), -(-wanted // PATCHES))
    chosen = np.sort(np.random.default_rng(seed).permutation(len(crops.pixels))[:photos])
    model.eval()
    parts = torch.from_numpy(crops.pixels[chosen]).split(64)
    vectors = [l2_normalize(model.encode(for_tokenizer(p))[0].flatten(0, 1)) for p in parts]
    model.quantize.init_codebook(torch.cat(vectors)[:wanted])


def optimisation(model: nn.Module, config: Any, steps: int) -> tuple[OptimWrapper, list[Any]]:
    """Optimiser of a config, with the demo's schedule over so many steps."""
    wrapper = build_optim_wrapper(model, config)
    # One step of warm-up would leave the cosine at the first, tiny rate.
    warm_up = max(2, round(WARM_UP * steps))
    schedules = [
        dict(type='LinearLR', start_factor=1e-9, by_epoch=False, begin=0, end=warm_up),
        dict(
            type='CosineAnnealingLR',
            eta_min=1e-5,
            by_epoch=False,
            begin=warm_up,
            end=max(warm_up + 1, steps),
        ),
    ]
    built = [PARAM_SCHEDULERS.build(s, default_args=dict(optimizer=wrapper)) for s in schedules]
    return wrapper, built


def tokenizer_file(cell: Cell, settings: Settings) -> Path:
    """Where a trained tokenizer is kept for the pretraining on its codes."""
    name = cell.tokenizer.name.replace(' ', '-')
    return settings.work_dir / 'tokenizers' / f'{name}-{settings.digest}.pth'


def save(model: nn.Module, path: Path) -> None:
    """Write weights, all or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f'{path.name}.new')
    torch.save(dict(state_dict=model.state_dict()), new)
    os.replace(new, path)

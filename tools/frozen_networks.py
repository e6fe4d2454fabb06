"""The networks whose frozen features are compared: pretrained, with random weights, the teacher."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import torch
from mmengine.device import get_device
from torch import Tensor, nn
from tqdm import tqdm

from mmbeitv2.apis import (
    extract_features,
    for_model,
    for_tokenizer,
    load_pretrained,
    tokenize,
)
from mmbeitv2.apis.encoder import find_device
from mmbeitv2.apis.photos import check_rgb
from mmbeitv2.datasets import LoadCenterCrop
from mmbeitv2.datasets.photo_batches import check_unread, read_batches
from mmbeitv2.exchange.run_notes import noted_value_range
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.photo_arguments import (
    NOTED,
    add_device,
    add_max_unreadable,
    add_value_range,
    print_unread,
)
from mmbeitv2.models import BEiTV2
from mmbeitv2.models.teachers.view import build_teacher
from mmbeitv2.registry import MODELS

BATCH = 64
PRETRAINED, RANDOM, TEACHER = 'pretrained', 'random weights', 'teacher'


class Networks(NamedTuple):
    """Models by name, the teacher if any, and how photos are read for them; on one device."""

    models: dict[str, BEiTV2]
    teacher: nn.Module | None = None
    value_range: Sequence[float] | None = None
    max_unreadable: float = 0


class Tokens(NamedTuple):
    """Features of photos on the CPU: [CLS] ``(B, C)``, None of a teacher, patches ``(B, N, C)``."""

    cls: Tensor | None
    patches: Tensor


def add_network_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what :func:`networks` reads, but for the checkpoint.

    Args:
        parser: extended in place.
    """
    parser.add_argument(
        '--config', help='of pretraining: how its random weights are drawn (else as the paper’s)'
    )
    parser.add_argument('--teacher', metavar='CONFIG', help='of VQ-KD, whose teacher is compared')
    parser.add_argument('--seed', type=int, default=0, help='of the random weights')
    add_device(parser)
    add_value_range(parser, NOTED)
    add_max_unreadable(parser)


def networks(args: argparse.Namespace) -> Networks:
    """The pretrained model, the same with random weights, and the teacher.

    Raises:
        ValueError: no such device, or no such share, before anything is loaded.
    """
    check_unread((), (), args.max_unreadable)
    device = find_device(args.device or get_device())
    pretrained = load_pretrained(args.checkpoint)
    check_rgb(pretrained.backbone, args.checkpoint)
    torch.manual_seed(args.seed)
    if args.config is None:
        random = load_pretrained(args.checkpoint)
    else:
        model = load_config(args.config).model
        random = MODELS.build({**model, 'target_generator': None})
        # The same photos for both.
        random.data_preprocessor = pretrained.data_preprocessor
    random.init_weights()
    models = {PRETRAINED: pretrained, RANDOM: random}
    teacher = None
    if args.teacher is not None:
        vqkd = load_config(args.teacher).model
        teacher = build_teacher(vqkd.teacher, vqkd.encoder.get('in_chans', 3))
    return Networks(
        {name: model.eval().to(device) for name, model in models.items()},
        teacher,
        args.value_range or noted_value_range(args.checkpoint),
        args.max_unreadable,
    )


def photos_of(found: Networks, paths: Sequence[str | Path]) -> Iterator[tuple[list[int], Tensor]]:
    """Photos as the checkpoint's run saw its validation photos, batch by batch, with progress.

    Yields:
        Positions of those that could be read, and uint8 RGB ``(B, 3, size, size)``. At the end the
        others are named.

    Raises:
        OSError: more cannot be read than are borne.
    """
    names = [str(path) for path in paths]
    load = LoadCenterCrop(
        found.models[PRETRAINED].backbone.img_size[0], value_range=found.value_range
    )
    batches = [range(len(names))[start : start + BATCH] for start in range(0, len(names), BATCH)]
    unread: list[tuple[int, str]] = []
    progress = tqdm(batches, desc='features', unit='batch', leave=False)
    for batch in read_batches(names, load, progress):
        unread += batch.unread
        check_unread(names, unread, found.max_unreadable)
        if batch.items:
            yield batch.positions, torch.stack([item['img'] for item in batch.items])
    print_unread([(names[i], reason) for i, reason in unread], len(names))


@torch.no_grad()
def tokens_of(found: Networks, pixels: Tensor) -> Iterator[tuple[str, Tokens]]:
    """Name and features of every network.

    Args:
        found: the networks.
        pixels: of :func:`photos_of`.
    """
    for name, model in found.models.items():
        features = extract_features(model, for_model(model, pixels))
        yield name, Tokens(features['cls_token'].cpu(), features['patch_tokens'].cpu())
    if found.teacher is not None:
        # It follows them to their device.
        device = found.models[PRETRAINED].backbone.cls_token.device
        patches = found.teacher(for_tokenizer(pixels.to(device)), grid_of(found, pixels))
        yield TEACHER, Tokens(None, patches.cpu())


@torch.no_grad()
def code_vectors(found: Networks, pixels: Tensor) -> Tensor | None:
    """What pretraining was asked for: the codebook's vector of each patch's code, ``(B, N, D)``.

    Args:
        found: the networks.
        pixels: of :func:`photos_of`.

    Returns:
        On the CPU; None of a checkpoint without its tokenizer.
    """
    tokenizer = found.models[PRETRAINED].target_generator
    if tokenizer is None:
        return None
    codes = tokenize(tokenizer, for_tokenizer(pixels))
    return tokenizer.quantize.codebook[codes].flatten(1, 2).cpu()


def grid_of(found: Networks, pixels: Tensor) -> tuple[int, int]:
    """Rows and columns of patches."""
    patch = found.models[PRETRAINED].backbone.patch_size
    return pixels.shape[-2] // patch, pixels.shape[-1] // patch

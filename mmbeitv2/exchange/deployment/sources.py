"""Open a checkpoint as a model that can be exported: what it takes, gives and was trained with."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmbeitv2.checkpoints.catalogue import check_kind
from mmbeitv2.checkpoints.hashes import sha256
from mmbeitv2.checkpoints.sources import local_file
from mmbeitv2.checkpoints.translation import Checkpoint, open_checkpoint
from mmbeitv2.errors import InputError
from mmbeitv2.exchange.building import build_backbone, build_pretrained, build_tokenizer
from mmbeitv2.exchange.deployment.graphs import (
    BackboneGraph,
    ClassifierGraph,
    SegmentationGraph,
    TokenizerGraph,
)
from mmbeitv2.exchange.deployment.normalization import Normalization, measure_normalization
from mmbeitv2.exchange.fine_tuned import FineTuned, load_fine_tuned
from mmbeitv2.exchange.run_notes import RunNotes, read_run_notes
from mmbeitv2.models.cls_head import LinearClsHead
from mmbeitv2.models.vit import VisionTransformer

PARTS = ('tokenizer', 'backbone', 'classifier', 'segmentation')
TOKENIZER_VIEW = Normalization((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# What each kind of checkpoint is exported as, unless the user says otherwise.
DEFAULT_PARTS = dict(pretraining='backbone') | {part: part for part in PARTS}


@dataclass(frozen=True)
class Deployable:
    """A model that can be exported.

    Attributes:
        part: one of ``PARTS``.
        body: of ``graphs``, in eval mode.
        vit: its vision Transformer.
        normalization: of its input.
        size: height and width in pixels that it was trained with.
        checkpoint: name, kind, project and SHA-256 of what was opened.
        classes: names, empty without any.
        palette: RGB of each class, None without one.
        notes: what the user has to do outside of the graph.
    """

    part: str
    body: Any
    vit: VisionTransformer
    normalization: Normalization
    size: tuple[int, int]
    checkpoint: dict[str, str]
    classes: list[str] = field(default_factory=list)
    palette: list[list[int]] | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def bound_to_size(self) -> str:
        """Why one graph serves one size only; empty where it serves all."""
        blocks: Any = self.vit.blocks
        if self.vit.rel_pos_bias is not None or blocks[0].attn.grid is not None:
            return (
                'it resizes its relative position bias at run time, by splines that no graph holds'
            )
        if self.part == 'segmentation':
            return 'the pooled pyramid of its head is made for one size'
        return ''


def open_deployable(
    source: str | Path,
    part: str | None = None,
    config: Config | None = None,
    num_heads: int | None = None,
    trust: bool = False,
) -> Deployable:
    """Model of a checkpoint, ready to be exported.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`.
        part: one of ``PARTS``; by default what the checkpoint is, of pretraining the backbone.
        config: of a fine-tuned model's run; the checkpoint's or the catalogue's unless given.
        num_heads: heads, where the file does not note them; width / 64 unless given.
        trust: open a file that holds Python objects beside weights, which can run any code.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no such part in it, or one that is no function of RGB photos alone.
    """
    # Every checkpoint has a backbone.
    if part in PARTS and part != 'backbone':
        check_kind(source, part)
    opened = open_checkpoint(str(source), trust)
    part = part or DEFAULT_PARTS[opened.kind]
    with local_file(source) as path:
        origin = dict(name=path.name, kind=opened.kind, project=opened.project, sha256=sha256(path))
    if part in ('classifier', 'segmentation'):
        found = _fine_tuned(source, part, config, origin)
    elif part == 'tokenizer':
        found = _tokenizer(opened, num_heads, origin)
    else:
        # Nothing of a file with code is read twice.
        notes = RunNotes() if trust else read_run_notes(source)
        found = _backbone(opened, num_heads, origin, notes)
    if found.vit.in_chans != 3:
        raise InputError(
            f'{opened} takes images of {found.vit.in_chans} channels, but photos are exported of 3 '
            '(RGB): export a model that was trained on RGB'
        )
    return found


def _tokenizer(opened: Checkpoint, num_heads: int | None, origin: dict[str, str]) -> Deployable:
    tokenizer = build_tokenizer(opened, num_heads, report=False)
    body, vit = TokenizerGraph(tokenizer), tokenizer.encoder
    return Deployable('tokenizer', body, vit, TOKENIZER_VIEW, vit.img_size, origin)


def _backbone(
    opened: Checkpoint, num_heads: int | None, origin: dict[str, str], notes: RunNotes
) -> Deployable:
    of_tokenizer = opened.kind == 'tokenizer'
    vit: VisionTransformer
    if of_tokenizer:
        vit = build_tokenizer(opened, num_heads, report=False).encoder
    elif opened.kind == 'pretraining':
        vit = build_pretrained(opened, num_heads, with_tokenizer=False, report=False).backbone
    else:
        vit = build_backbone(opened, num_heads, report=False)
    view = TOKENIZER_VIEW if of_tokenizer else Normalization(*notes.normalization_of_rgb)
    body = BackboneGraph(vit, of_tokenizer)
    return Deployable('backbone', body, vit.eval(), view, vit.img_size, origin)


def _fine_tuned(
    source: str | Path, part: str, config: Config | None, origin: dict[str, str]
) -> Deployable:
    fine_tuned = load_fine_tuned(source, part, config)
    model: Any = fine_tuned.model
    vit = model.backbone
    if not isinstance(vit, VisionTransformer):
        raise InputError(
            f'{source} has a backbone {type(vit).__name__}, allowed: mmbeitv2.BEiTViT. Export it '
            'with the tools of its own project'
        )
    size = vit.img_size
    view = measure_normalization(fine_tuned, size, str(source))
    body, notes = (_classifier if part == 'classifier' else _segmenter)(fine_tuned, source)
    return Deployable(
        *(part, body, vit, view, size, origin),
        classes=fine_tuned.classes,
        palette=fine_tuned.palette,
        notes=notes,
    )


def _classifier(fine_tuned: FineTuned, source: str | Path) -> tuple[ClassifierGraph, list[str]]:
    model: Any = fine_tuned.model
    ours = isinstance(model.head, LinearClsHead)
    return ClassifierGraph(model, ['head.fc'] if ours else []), []


def _segmenter(fine_tuned: FineTuned, source: str | Path) -> tuple[SegmentationGraph, list[str]]:
    model: Any = fine_tuned.model
    head = model.decode_head
    if head.out_channels == 1:
        raise InputError(
            f'{source} tells two classes apart by a threshold on one channel, which is not '
            'exported: train it with out_channels=2'
        )
    notes = []
    if model.test_cfg.mode == 'slide':
        crop, stride = tuple(model.test_cfg.crop_size), tuple(model.test_cfg.stride)
        notes.append(
            f'tested by sliding windows of {crop} pixels in steps of {stride}: the graph is one '
            'window'
        )
    ours = type(head).__module__.startswith('mmbeitv2.')
    return SegmentationGraph(model, ['decode_head.conv_seg'] if ours else []), notes

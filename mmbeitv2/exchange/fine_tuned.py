"""A fine-tuned model from its checkpoint alone: weights, test pipeline and names of the classes."""

import importlib
import importlib.util
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.dataset import Compose
from mmengine.registry import DATASETS, DefaultScope
from mmengine.registry import MODELS as ROOT_MODELS
from torch import nn

from mmbeitv2.checkpoints.catalogue import check_kind, described
from mmbeitv2.checkpoints.loading import load_exactly
from mmbeitv2.checkpoints.noted_config import noted_config
from mmbeitv2.checkpoints.reading import read_training_checkpoint, weights_in
from mmbeitv2.checkpoints.translation import Checkpoint, translate
from mmbeitv2.datasets.decoding import check_value_range
from mmbeitv2.errors import InputError, NotInstalledError
from mmbeitv2.own_configs import find_config
from mmbeitv2.registry import class_name

SCOPES = dict(classifier='mmpretrain', segmentation='mmseg')
CURES = dict(
    classifier='fine-tune one (configs/finetune), or learn from a few labels with `mmbeitv2 probe`',
    segmentation='fine-tune one (configs/segmentation)',
)
# Tensors of ``LinearProbeHead``.
PROBES = 'head.classifiers.'
MASK_LOADERS = ('LoadAnnotations', 'LoadSegmentationMask')


class FineTuned(NamedTuple):
    """A model and what it needs to be used on photos.

    Attributes:
        model: of mmpretrain or mmsegmentation, in eval mode.
        pipeline: from ``dict(img_path=...)`` to what the model's ``test_step`` takes of a photo.
        classes: their names, in order of their numbers.
        palette: RGB of each class, None where the data set has none.
        value_range: by which the pipeline reads photos of float or 32-bit numbers.
    """

    model: nn.Module
    pipeline: Callable[[dict[str, Any]], Any]
    classes: list[str]
    palette: list[list[int]] | None
    value_range: tuple[float, float] | None = None


def load_fine_tuned(
    checkpoint: str | Path,
    kind: str,
    config: Config | None = None,
    classes: Sequence[str] | None = None,
    value_range: Sequence[float] | None = None,
) -> FineTuned:
    """Model of a fine-tuned checkpoint.

    Args:
        checkpoint: that a run wrote, which holds its config and the names of its classes; the
            name of published weights; or of another project, with ``config``.
        kind: ``'classifier'`` or ``'segmentation'``.
        config: of the run; unless given the catalogue's of published weights, else the one in the
            checkpoint.
        classes: names; unless given those in the checkpoint, else those that the config's data set
            has by itself, else numbers.
        value_range: black and white of photos of float or 32-bit numbers; those of the config's
            test unless given.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a checkpoint of another kind, without config, or not of this config.
        ImportError: mmsegmentation is missing.
    """
    check_kind(checkpoint, kind)
    content = read_training_checkpoint(checkpoint)
    opened = translate(weights_in(content, checkpoint), str(checkpoint))
    _check_holds(opened, kind)
    meta = content.get('meta') or {}
    cfg = config if config is not None else _config_of(checkpoint, meta)
    if cfg is None:
        raise InputError(
            f'{checkpoint} does not hold the config of its run: give that with --config, or as '
            'config= from Python'
        )
    if not {'model', 'test_dataloader'} <= cfg.keys():
        raise InputError(
            f'the config of {checkpoint} has no model or no test_dataloader, which say how photos '
            'are seen: give one with both by --config'
        )
    model, pipeline = _build(cfg, kind, opened)
    number = _num_classes(model)
    noted = meta.get('dataset_meta') or declared_classes(cfg, kind)
    if 'dataset_meta' not in meta and len(noted.get('classes') or ()) != number:
        noted = {}
    names = list(classes or noted.get('classes') or map(str, range(number)))
    if len(names) != number:
        raise InputError(
            f'{len(names)} names of classes are given, but {checkpoint} has {number} classes'
        )
    seen = _set_value_range(pipeline, value_range, str(checkpoint))
    return FineTuned(model, pipeline, names, noted.get('palette'), seen)


def _check_holds(opened: Checkpoint, kind: str) -> None:
    if kind == 'classifier' and any(name.startswith(PROBES) for name in opened.state):
        raise InputError(
            f'{opened} holds a linear probe, which has several classifiers of one backbone: use it '
            "by mmpretrain's ImageClassificationInferencer (docs/openmmlab.md), export its "
            f'backbone with --part backbone, or {CURES[kind]}'
        )
    if opened.kind != kind:
        raise InputError(
            f'{opened} holds no {"segmenter" if kind == "segmentation" else kind}: {CURES[kind]}'
        )


def _config_of(checkpoint: str | Path, meta: Mapping[str, Any]) -> Config | None:
    """Of published weights what they are read by here: a publisher's file may note his own."""
    entry = described(checkpoint)
    if entry is not None:
        return Config.fromfile(find_config(entry.config))
    return noted_config(meta, str(checkpoint))


def _set_value_range(
    pipeline: Compose, value_range: Sequence[float] | None, source: str
) -> tuple[float, float] | None:
    """Let the transforms that load read by a range, if one is given; the one that they read by."""
    loading: list[Any] = [t for t in pipeline.transforms if hasattr(t, 'value_range')]
    if value_range is not None:
        if not loading:
            names = ', '.join(type(transform).__name__ for transform in pipeline.transforms)
            raise InputError(
                f'no transform of the test of {source} ({names}) takes a value range: leave it '
                'out, or give a config with mmbeitv2.LoadCenterCrop by --config'
            )
        for transform in loading:
            transform.value_range = check_value_range(value_range)
    return loading[0].value_range if loading else None


def _build(cfg: Config, kind: str, opened: Checkpoint) -> tuple[nn.Module, Compose]:
    _import_components(SCOPES[kind])
    settings = dict(cfg.model)
    # mmengine's runner hands it to models without their own.
    if 'data_preprocessor' in cfg and not settings.get('data_preprocessor'):
        settings['data_preprocessor'] = cfg.data_preprocessor
    transforms = [
        transform
        for transform in cfg.test_dataloader.dataset.pipeline
        if class_name(transform['type']) not in MASK_LOADERS
    ]
    with DefaultScope.overwrite_default_scope(SCOPES[kind]), warnings.catch_warnings():
        # Of losses, which nobody computes here.
        warnings.filterwarnings('ignore', 'Default ``avg_non_ignore``')
        try:
            model = ROOT_MODELS.build(settings)
            pipeline = Compose(transforms)
        except (KeyError, TypeError, AttributeError, ImportError) as error:
            raise InputError(
                f'the model of {opened.source} cannot be built from its config '
                f'({" ".join(str(error).split())}): give a config of this version with --config'
            ) from error
    load_exactly(model, opened, report=False)
    return model.eval(), pipeline


def declared_classes(cfg: Config, kind: str) -> dict[str, Any]:
    """What a data set of a host says of its classes, as ImageNet and ADE20K do; empty without.

    Args:
        cfg: with ``test_dataloader``, unless it is of pretraining.
        kind: a key of ``SCOPES``; of others there are none.

    Returns:
        ``classes``, and ``palette`` of segmentation.
    """
    if kind not in SCOPES or 'test_dataloader' not in cfg:
        return {}
    _import_components(SCOPES[kind])
    dataset = cfg.test_dataloader.dataset
    with DATASETS.switch_scope_and_registry(SCOPES[kind]) as registry:
        return dict(getattr(registry.get(dataset['type']), 'METAINFO', {}))


def _import_components(scope: str) -> None:
    """Register what configs of a host may name."""
    if importlib.util.find_spec(scope) is None:
        raise NotInstalledError(f"this needs {scope}: pip install 'mmbeitv2[onedl]'")
    modules = [f'{scope}.models', f'{scope}.datasets', 'mmbeitv2.models', 'mmbeitv2.datasets']
    if scope == 'mmseg':
        modules.append('mmbeitv2.models.segmentation_heads')
    for module in modules:
        importlib.import_module(module)


def _num_classes(model: nn.Module) -> int:
    head: Any = getattr(model, 'decode_head', None)
    if head is not None:
        return int(head.num_classes)
    head = model.head
    return int(head.fc.out_features)

"""The parts of a config against what builds them: types, arguments, keys."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    FUNCTIONS,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    MODELS,
    OPTIM_WRAPPER_CONSTRUCTORS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    RUNNERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
)
from torch.utils.data import DataLoader

from mmbeitv2.errors import InputError
from mmbeitv2.launch.components import check_component
from mmbeitv2.launch.config_keys import nearest
from mmbeitv2.launch.model_parts import check_model, entries
from mmbeitv2.registry import class_name

# What is not a component, and reads these keys alone.
KEYS = {
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'custom_imports': {'allow_failed_imports', 'imports'},
    'env_cfg': {'cudnn_benchmark', 'dist_cfg', 'mp_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'randomness': {'deterministic', 'diff_rank_seed', 'seed'},
}
LOADER_KEYS = {
    *inspect.signature(DataLoader).parameters,
    'disable_subprocess_warning',
    'num_batch_per_epoch',
}


def check_parts(cfg: Config, phases: Sequence[str]) -> None:
    """Check every component and key that can be known without building anything.

    Args:
        cfg: the run's config.
        phases: those of the run, of ``'train'``, ``'val'`` and ``'test'``.

    Raises:
        ValueError: the first that is unknown, missing, or of the wrong kind, by its dotted key.
    """
    scope = cfg.get('default_scope')
    for key, known in KEYS.items():
        _check_keys(_at(cfg, key), key, known)
    for key in ('model', 'tta_model'):
        if cfg.get(key) is not None:
            check_model(cfg[key], key, scope)
    if 'type' in (cfg.get('data_preprocessor') or ()):
        check_component(cfg.data_preprocessor, 'data_preprocessor', MODELS, scope, complete=False)
    for phase in phases:
        _check_loader(cfg.get(f'{phase}_dataloader'), f'{phase}_dataloader', scope)
        _check_loop(cfg.get(f'{phase}_cfg'), phase, scope)
    for phase in {'val', 'test'} & set(phases):
        for key, metric in entries(cfg.get(f'{phase}_evaluator'), f'{phase}_evaluator'):
            if not (isinstance(metric, Mapping) and 'metrics' in metric):
                check_component(metric, key, METRICS, scope)
    if 'train' in phases:
        _check_optimiser(cfg.get('optim_wrapper'), scope)
        for key, scheduler in _schedulers(cfg.get('param_scheduler')):
            given = ('optimizer', 'epoch_length', 'convert_to_iter_based', 'param_name')
            check_component(scheduler, key, PARAM_SCHEDULERS, scope, given=given)
    hooks = _named(cfg.get('default_hooks'), 'default_hooks')
    for key, hook in [*hooks, *entries(cfg.get('custom_hooks'), 'custom_hooks')]:
        if hook is not None or key.startswith('custom_hooks'):
            check_component(hook, key, HOOKS, scope, given=('priority',))
    _check_visualizer(cfg.get('visualizer'), scope)
    log = cfg.get('log_processor')
    if log is not None:
        check_component(log, 'log_processor', LOG_PROCESSORS, scope, default='LogProcessor')
    if cfg.get('runner_type') is not None:
        check_component({'type': cfg.runner_type}, 'runner', RUNNERS, scope, complete=False)


def _at(cfg: Any, key: str) -> Any:
    for part in key.split('.'):
        cfg = cfg.get(part) if isinstance(cfg, Mapping | Config) else None
    return cfg


def _check_keys(part: Any, key: str, known: set[str]) -> None:
    if part is None:
        return
    if not isinstance(part, Mapping):
        raise InputError(f'{key} is {part!r}, allowed: dict(...)')
    for name in part:
        if name not in known:
            meant = nearest(name, known, 0.6)
            cure = f'did you mean {meant}?' if meant else f'allowed: {", ".join(sorted(known))}'
            raise InputError(f'{key}.{name} is read by nothing; {cure}')


def _named(part: Any, key: str) -> list[tuple[str, Any]]:
    if part is None:
        return []
    if not isinstance(part, Mapping):
        raise InputError(f'{key} is {part!r}, allowed: dict(NAME=dict(type=..., ...), ...)')
    return [(f'{key}.{name}', child) for name, child in part.items()]


def _schedulers(part: Any) -> Iterator[tuple[str, Any]]:
    """Yield those of one optimiser, or of each of several."""
    several = isinstance(part, Mapping) and part and 'type' not in part
    if several and all(isinstance(child, list | tuple | Mapping) for child in part.values()):
        for name, child in part.items():
            yield from entries(child, f'param_scheduler.{name}')
    else:
        yield from entries(part, 'param_scheduler')


def _check_loader(loader: Any, key: str, scope: str | None) -> None:
    if loader is None:
        return
    _check_keys(loader, key, LOADER_KEYS)
    if 'dataset' not in loader:
        raise InputError(f'{key} has no dataset: set {key}.dataset=dict(type=..., ...)')
    _check_dataset(loader['dataset'], f'{key}.dataset', scope)
    if 'sampler' not in loader and 'batch_sampler' not in loader:
        raise InputError(f"{key} has no sampler: set {key}.sampler=dict(type='DefaultSampler')")
    sampler = loader.get('sampler')
    if sampler is not None:
        given = ('dataset', 'seed')
        check_component(sampler, f'{key}.sampler', DATA_SAMPLERS, scope, given=given)
    if loader.get('batch_sampler') is not None:
        given = ('sampler', 'batch_size')
        check_component(
            loader['batch_sampler'], f'{key}.batch_sampler', DATA_SAMPLERS, scope, given=given
        )
    if isinstance(loader.get('collate_fn'), Mapping):
        # A partial: it gets the samples besides.
        check_component(loader['collate_fn'], f'{key}.collate_fn', FUNCTIONS, None, complete=False)
    if 'batch_size' not in loader and loader.get('batch_sampler') is None:
        raise InputError(f'{key} has no batch_size: set {key}.batch_size, 1 or more')


def _check_dataset(dataset: Any, key: str, scope: str | None) -> None:
    if hasattr(dataset, '__getitem__') and not isinstance(dataset, Mapping | str | list | tuple):
        return  # built already
    check_component(dataset, key, DATASETS, scope)
    for name in ('dataset', 'datasets'):
        for inner_key, inner in entries(dataset.get(name), f'{key}.{name}'):
            _check_dataset(inner, inner_key, scope)
    pipeline = dataset.get('pipeline')
    if pipeline is not None and not isinstance(pipeline, list | tuple):
        raise InputError(f'{key}.pipeline is {pipeline!r}, allowed: a list of dict(type=..., ...)')
    _check_transforms(pipeline or (), f'{key}.pipeline', scope)


def _check_transforms(transforms: Sequence[Any], key: str, scope: str | None) -> None:
    for entry_key, transform in entries(transforms, key):
        if isinstance(transform, list | tuple):
            _check_transforms(transform, entry_key, scope)
        elif not callable(transform):
            check_component(transform, entry_key, TRANSFORMS, scope)
            inner = transform.get('transforms')
            # Albumentations' transforms are its own.
            foreign = class_name(transform['type']).startswith('Albu')
            if isinstance(inner, list | tuple) and not foreign:
                _check_transforms(inner, f'{entry_key}.transforms', scope)


def _check_loop(loop: Any, phase: str, scope: str | None) -> None:
    if loop is None:
        return
    key = f'{phase}_cfg'
    if not isinstance(loop, Mapping):
        raise InputError(f'{key} is {loop!r}, allowed: dict(...)')
    default = f'{phase.capitalize()}Loop'
    given = ['runner', 'dataloader', 'evaluator']
    if phase == 'train':
        if ('type' in loop) == ('by_epoch' in loop):
            raise InputError(
                'train_cfg needs one of by_epoch and type: by_epoch=True with max_epochs, or '
                "type='IterBasedTrainLoop' with max_iters"
            )
        default = 'EpochBasedTrainLoop' if loop.get('by_epoch') else 'IterBasedTrainLoop'
        given.append('by_epoch')
    check_component(loop, key, LOOPS, scope, default=default, given=given)


def _check_optimiser(wrapper: Any, scope: str | None) -> None:
    if wrapper is None:
        return
    several = isinstance(wrapper, Mapping) and 'optimizer' not in wrapper
    if several and 'constructor' in wrapper:
        return  # of several optimisers, each as that constructor takes it
    given = ('optimizer', 'constructor', 'paramwise_cfg')
    check_component(
        wrapper, 'optim_wrapper', OPTIM_WRAPPERS, scope, default='OptimWrapper', given=given
    )
    if 'optimizer' not in wrapper:
        raise InputError('optim_wrapper has no optimizer: set optim_wrapper.optimizer=dict(type=…)')
    optimiser = wrapper['optimizer']
    check_component(optimiser, 'optim_wrapper.optimizer', OPTIMIZERS, scope, given=('params',))
    constructor = wrapper.get('constructor')
    if constructor is not None:
        check_component(
            {'type': constructor},
            'optim_wrapper.constructor',
            OPTIM_WRAPPER_CONSTRUCTORS,
            scope,
            complete=False,
        )


def _check_visualizer(visualizer: Any, scope: str | None) -> None:
    if visualizer is None:
        return
    check_component(visualizer, 'visualizer', VISUALIZERS, scope, given=('name', 'save_dir'))
    for key, backend in entries(visualizer.get('vis_backends'), 'visualizer.vis_backends'):
        check_component(backend, key, VISBACKENDS, scope, given=('save_dir',))

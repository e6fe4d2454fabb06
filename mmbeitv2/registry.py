"""Registries of scope ``mmbeitv2``: direct children of mmengine's root.

A direct child of the root is found from every default scope, so ``type='mmbeitv2.VQKD'`` works in
configs of mmpretrain and of mmsegmentation without ``custom_imports``.
"""

from mmengine.registry import DATA_SAMPLERS as MMENGINE_DATA_SAMPLERS
from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import METRICS as MMENGINE_METRICS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as MMENGINE_OPTIM_WRAPPERS
from mmengine.registry import STRATEGIES as MMENGINE_STRATEGIES
from mmengine.registry import TRANSFORMS as MMENGINE_TRANSFORMS
from mmengine.registry import Registry

SCOPE = 'mmbeitv2'


def type_name(kind: str | type) -> str:
    """What a config names by ``type``, as its string would be written.

    mmengine's configs in pure Python hold classes there: one of this package is called as in its
    registry, ``'mmbeitv2.VQKD'``, any other by its name alone.

    Args:
        kind: value of the key ``type``.
    """
    if isinstance(kind, str):
        return kind
    ours = kind.__module__.split('.')[0] == SCOPE
    return f'{SCOPE}.{kind.__name__}' if ours else kind.__name__


def class_name(kind: str | type) -> str:
    """What a config names by ``type``, without its registry."""
    return type_name(kind).split('.')[-1]


MODELS = Registry(
    'model',
    parent=MMENGINE_MODELS,
    scope=SCOPE,
    locations=['mmbeitv2.models', 'mmbeitv2.datasets'],
)
DATASETS = Registry(
    'dataset', parent=MMENGINE_DATASETS, scope=SCOPE, locations=['mmbeitv2.datasets']
)
DATA_SAMPLERS = Registry(
    'data sampler', parent=MMENGINE_DATA_SAMPLERS, scope=SCOPE, locations=['mmbeitv2.datasets']
)
TRANSFORMS = Registry(
    'transform', parent=MMENGINE_TRANSFORMS, scope=SCOPE, locations=['mmbeitv2.datasets']
)
HOOKS = Registry(
    'hook',
    parent=MMENGINE_HOOKS,
    scope=SCOPE,
    # Of the pages the module alone: the others are no part of a run.
    locations=['mmbeitv2.engine', 'mmbeitv2.evaluation', 'mmbeitv2.reports.learning_page_hook'],
)
LOOPS = Registry('loop', parent=MMENGINE_LOOPS, scope=SCOPE, locations=['mmbeitv2.engine'])
OPTIM_WRAPPERS = Registry(
    'optim_wrapper',
    parent=MMENGINE_OPTIM_WRAPPERS,
    scope=SCOPE,
    locations=['mmbeitv2.engine'],
)
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor',
    parent=MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
    scope=SCOPE,
    locations=['mmbeitv2.engine'],
)
STRATEGIES = Registry(
    'strategy',
    parent=MMENGINE_STRATEGIES,
    scope=SCOPE,
    # The module alone: it needs a later torch than the rest of the package.
    locations=['mmbeitv2.engine.sharding'],
)
METRICS = Registry(
    'metric', parent=MMENGINE_METRICS, scope=SCOPE, locations=['mmbeitv2.evaluation']
)

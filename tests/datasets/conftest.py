from pathlib import Path

import pytest
from mmengine.registry import DefaultScope

PHOTOS = Path(__file__).parents[2] / 'demo' / 'assets' / 'backgrounds' / 'train'


@pytest.fixture
def photos() -> Path:
    return PHOTOS


@pytest.fixture
def photo() -> Path:
    return PHOTOS / 'path.jpg'


@pytest.fixture
def mmpretrain_scope():
    import mmpretrain.datasets  # noqa: F401

    with DefaultScope.overwrite_default_scope('mmpretrain'):
        yield

"""Who imports a module by its old name is told the new one."""

import importlib
import importlib.util

import pytest

from mmbeitv2.moved import MOVED


@pytest.mark.parametrize('old', MOVED)
def test_old_names_fail_with_a_new_one_that_exists(old):
    with pytest.raises(ModuleNotFoundError, match=f'{MOVED[old]} now'):
        importlib.import_module(old)
    assert importlib.util.find_spec(MOVED[old]) is not None


def test_importing_from_the_old_package_says_so_too():
    with pytest.raises(ModuleNotFoundError, match=r'mmbeitv2\.launch\.runner now'):
        from mmbeitv2.apis import launch  # noqa: F401


def test_other_missing_modules_are_missing_as_ever():
    with pytest.raises(ModuleNotFoundError, match=r"No module named 'mmbeitv2\.apis\.nothing'"):
        importlib.import_module('mmbeitv2.apis.nothing')


def test_classes_that_got_a_file_of_their_own_are_found_by_the_old_import():
    from mmbeitv2.models import attention, layers, tokenizer, vqkd

    assert layers.Attention is attention.Attention
    assert vqkd.VQKDTokenizer is tokenizer.VQKDTokenizer
    assert vqkd.VQKDEncoder is tokenizer.VQKDEncoder

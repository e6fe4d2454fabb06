"""Blocks of Python: those that are (a part of) a config, and programs."""

import ast
import importlib
import logging
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mmengine.logging import MMLogger

from mmbeitv2.errors import UserError
from mmbeitv2.launch.config import find_config, load_config
from mmbeitv2.launch.config_parts import check_parts

from .pages import Block

# What the calls of a config are made of.
CONFIG_CALLS = ('dict', 'list', 'tuple', 'round', 'range', 'sorted', 'len')
NOT_EVERYWHERE = ('transformers',)
DEFAULT_BASE = 'beitv2_vit-b16_300e.py'


def is_config(block: Block) -> bool:
    """Whether a block sets values and does nothing else.

    Args:
        block: of Python that compiles.
    """
    tree = ast.parse(block.text)
    statements = [s for s in tree.body if not _is_docstring(s)]
    if not statements or not all(isinstance(s, ast.Assign) for s in statements):
        return False
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return all(isinstance(call, ast.Name) and call.id in CONFIG_CALLS for call in calls)


def _is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


def config_text(block: Block) -> str:
    """The whole config that a block is a part of.

    A block without a ``_base_`` of its own inherits the paper's base run, or what its note ``base:
    CONFIG`` names; ``copy: CONFIG`` says that it stands at the end of a copy of that config, and
    ``then: STATEMENT`` what a user would write after it.

    Args:
        block: for which :func:`is_config` is true.
    """
    if block.copy:
        original = find_config(block.copy).read_text(encoding='utf-8')
        text = original.replace("_base_ = '../", "_base_ = 'mmbeitv2::") + block.text
    elif re.search(r'^_base_ = ', block.text, re.M):
        text = block.text
    else:
        text = f"_base_ = 'mmbeitv2::{block.base or DEFAULT_BASE}'\n{block.text}"
    return f'{text}\n{block.then}\n'


def check_python(block: Block) -> Iterator[str]:
    """Yield what is wrong with a block, as ``PAGE:LINE: message``.

    A program has to compile and its imports to resolve; a config has to be read without a warning,
    and its parts to fit the classes they name.

    Args:
        block: of Python.
    """
    try:
        tree = ast.parse(block.text)
    except SyntaxError as error:
        yield f'{block.page}:{block.line + (error.lineno or 0)}: {error.msg}'
        return
    for node in ast.walk(tree):
        yield from (f'{block.page}:{block.line + node.lineno}: {p}' for p in _unresolved(node))
    if is_config(block):
        yield from (f'{block.place}: {problem}' for problem in config_problems(block))


def _unresolved(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        wanted = [(alias.name, None) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
        wanted = [(node.module or '', alias.name) for alias in node.names]
    else:
        return
    for module, name in wanted:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            # Peers that the lowest versions leave out.
            if error.name not in NOT_EVERYWHERE:
                yield str(error)
            continue
        except ImportError as error:
            yield str(error)
            continue
        if name is not None and not hasattr(found, name):
            yield f'{module} has no {name}'


class _Kept(logging.Handler):
    """Keeps the warnings: of a variable that nothing reads, most of all."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def config_problems(block: Block) -> list[str]:
    """What :func:`load_config` and the checks before a run say of a block.

    Args:
        block: for which :func:`is_config` is true.
    """
    logger, kept = MMLogger.get_current_instance(), _Kept()
    logger.addHandler(kept)
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'block.py'
            path.write_text(config_text(block), encoding='utf-8')
            check_parts(load_config(path), ('train', 'val'))
    except UserError as error:
        return [str(error)]
    finally:
        logger.removeHandler(kept)
    return kept.messages

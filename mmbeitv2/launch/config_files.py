"""A config file and those it inherits, read as text: nothing of them runs here."""

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmbeitv2.errors import InputError, MissingFileError, UnreadableFileError
from mmbeitv2.launch.config_data import as_json, json_config, yaml_config
from mmbeitv2.own_configs import SCOPE_PREFIX, find_config

BASE_KEY = '_base_'
SUFFIXES = ('.py', '.json', '.yaml', '.yml')
BASE_VARIABLE = re.compile(r'\{\{\s*_base_\.(\w+)')


@dataclass(eq=False)
class ConfigFile:
    """One file of an inheritance.

    Attributes:
        path: where it lies.
        source: its text as mmengine may read it; of YAML, the same as JSON.
        bases: the files it inherits, or another package's by its name.
        tree: the program of a Python file, None of others.
        movable: whether a copy elsewhere reads the same.
    """

    path: Path
    source: str
    bases: list['ConfigFile | str'] = field(default_factory=list)
    tree: ast.Module | None = None
    movable: bool = True

    def files(self) -> Iterator['ConfigFile']:
        """Yield the file and those it inherits, at any distance."""
        yield self
        for base in self.bases:
            if isinstance(base, ConfigFile):
                yield from base.files()


def read_inheritance(filename: str) -> ConfigFile:
    """Read a config file and those it inherits.

    Args:
        filename: its path, or ``'mmbeitv2::NAME.py'``.

    Raises:
        UserError: a file is missing, unreadable, of another kind, faulty, or inherits itself.
    """
    if not filename.strip():
        raise InputError(f"the config's name is empty: give a path, or '{SCOPE_PREFIX}NAME.py'")
    if filename.startswith(SCOPE_PREFIX):
        path = find_config(filename)
    elif re.match(r'[\w.+-]+://', filename):
        raise InputError(
            f'the config {filename!r} is an address; configs are programs, and read from files of '
            'this machine: copy it here'
        )
    else:
        path = Path(filename).expanduser()
    if not path.exists():
        raise MissingFileError(
            f'no config file {filename!r} (looked in {Path.cwd()}); give the path of a file, or '
            f"'{SCOPE_PREFIX}NAME.py' for a config of this package"
        )
    return _read(path.resolve(), ())


def _read(path: Path, inheriting: tuple[Path, ...]) -> ConfigFile:
    if path in inheriting:
        circle = ' → '.join(str(p) for p in (*inheriting[inheriting.index(path) :], path))
        raise InputError(f'the config inherits itself: {circle}; remove that {BASE_KEY}')
    text = _text(path)
    # A copy lies elsewhere, and mmengine would name its folder.
    text = re.sub(r'\{\{\s*fileDirname\s*\}\}', lambda _: path.parent.as_posix(), text)
    file = ConfigFile(path, text)
    if path.suffix == '.py':
        file.tree = _program(path, text)
        names = _base_of_program(file.tree, path)
        file.movable = bool(names) or not _imports_parts(file.tree)
    else:
        values = json_config(path, text) if path.suffix == '.json' else yaml_config(path, text)
        if path.suffix != '.json':
            file.source = as_json(values, path)
        names = values.get(BASE_KEY, [])
    for name in [names] if isinstance(names, str) else names or ():
        file.bases.append(_base(name, path, (*inheriting, path)))
    return file


def _text(path: Path) -> str:
    if path.is_dir():
        raise InputError(f'the config {path} is a folder: name one of the files in it')
    if not path.is_file():
        raise InputError(f'the config {path} is no regular file')
    if path.suffix not in SUFFIXES:
        raise InputError(
            f'the config {path} ends in {path.suffix!r}, allowed: {" ".join(SUFFIXES)}'
        )
    try:
        text = path.read_text(encoding='utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(f'the config {path} is no text in UTF-8: {error}') from None
    except OSError as error:
        raise UnreadableFileError(f'the config {path} cannot be read: {error.strerror}') from None
    if not text.strip():
        raise InputError(f'the config {path} is empty')
    return text


def _program(path: Path, text: str) -> ast.Module:
    try:
        return ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise InputError(f'{path}:{error.lineno}: the config has a fault: {error.msg}') from None
    except (ValueError, RecursionError, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise InputError(f'the config {path} is no Python: {reason}') from None


def _imports_parts(tree: ast.Module) -> bool:
    """Whether it is of mmengine's newer kind, which imports its bases and classes."""
    for node in ast.walk(tree):
        modules = []
        if isinstance(node, ast.ImportFrom):
            modules = [node.module or ''] if node.level == 0 else ['']
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        if any(module.split('.')[0] not in sys.stdlib_module_names for module in modules):
            return True
    return False


def _base_of_program(tree: ast.Module, path: Path) -> Any:
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == BASE_KEY:
            code = compile(ast.Expression(node.value), str(path), 'eval')
            try:
                names = eval(code, {})  # mmengine does the same: an expression without variables
            except Exception as error:
                raise InputError(f'{path}:{node.lineno}: {BASE_KEY} is faulty: {error}') from None
            if isinstance(names, str | list | tuple):
                return names
            raise InputError(f'{path}:{node.lineno}: {BASE_KEY} is {names!r}, but names files')
    return []


def _base(name: Any, path: Path, inheriting: tuple[Path, ...]) -> ConfigFile | str:
    if not isinstance(name, str) or not name.strip():
        raise InputError(f'{path}: {BASE_KEY} names {name!r}, which is no file')
    if name.startswith(SCOPE_PREFIX):
        return _read(find_config(name).resolve(), inheriting)
    if '::' in name:
        return name
    base = path.parent / Path(name).expanduser()
    if not base.exists():
        raise MissingFileError(f'{path} inherits {name!r}, but there is no {base}')
    return _read(base.resolve(), inheriting)

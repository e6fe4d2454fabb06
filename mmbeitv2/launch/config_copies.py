"""Copies of config files in which a variable is set again wherever a file sets it.

mmengine puts a variable's value into what derives from it while it reads the file. A value that is
to reach all of that must therefore be there then: behind each statement that sets the variable, on
its line, so that the lines keep their numbers.
"""

import ast
import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from mmbeitv2.launch.config_data import PLACEHOLDER_VALUE
from mmbeitv2.launch.config_files import BASE_KEY, BASE_VARIABLE, ConfigFile

# Under such a name each copy hands on what its file sets by itself, before mmengine merges it.
OWN_VALUES = 'values_of_file_'


@dataclass
class Settings:
    """What is added to the copy of one file.

    Attributes:
        behind: statement to run behind each one that sets this variable.
        at_end: the variable's value for those who inherit the file.
    """

    behind: dict[str, str] = field(default_factory=dict)
    at_end: dict[str, Any] = field(default_factory=dict)


@lru_cache(maxsize=256)
def bound_names(file: ConfigFile) -> set[str]:
    """Names of a file's own values.

    Args:
        file: not those that it inherits.
    """
    if file.tree is None:
        return set(json_values(file.source)) - {BASE_KEY}
    return {name for _, names in _bindings(file.tree) for name in names} - {BASE_KEY}


@lru_cache(maxsize=256)
def read_names(file: ConfigFile) -> set[str]:
    """Names whose values a file puts into others: its own, or ``_base_.NAME``."""
    if file.tree is None:
        return set(BASE_VARIABLE.findall(file.source))
    names = set()
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == BASE_KEY:
            names.add(node.attr)
        elif isinstance(node, ast.Subscript) and ast.unparse(node.value) == BASE_KEY:
            names.add(getattr(node.slice, 'value', ''))
    return names


def statement(key: str, value: Any) -> str:
    """Return the Python statement that sets a dotted key, as ``a['b'][0] = 3`` for ``a.b.0``."""
    name, *path = key.split('.')
    places = ''.join(f'[{part}]' if part.isdigit() else f'[{part!r}]' for part in path)
    return f'{name}{places} = {_literal(value)}'


def is_plain(value: Any) -> bool:
    """Whether a value is a number, a text, a switch, nothing, or a sequence of such."""
    if isinstance(value, list | tuple):
        return all(is_plain(v) for v in value)
    return value is None or isinstance(value, bool | int | float | str)


def write_copy(
    file: ConfigFile, folder: Path, settings: Mapping[ConfigFile, Settings], numbers: Iterator[int]
) -> tuple[Path, dict[ConfigFile, str]]:
    """Write a file and those it inherits for mmengine to read.

    Args:
        file: the heir.
        folder: where the copies lie.
        settings: what to add, by file.
        numbers: one for each file.

    Returns:
        Path: of the heir's copy.
        dict: the key in the config under which each Python file's own values are found.
    """
    if not file.movable:
        return file.path, {}
    bases, keys = [], {}
    for base in file.bases:
        if isinstance(base, ConfigFile):
            copy, found = write_copy(base, folder, settings, numbers)
            keys.update(found)
            bases.append(str(copy))
        else:
            bases.append(base)
    added = settings.get(file, Settings())
    if file.tree is None:
        source, name = _with_bases(file.source, bases), file.path.with_suffix('.json').name
    else:
        keys[file] = f'{OWN_VALUES}{next(numbers)}'
        source, name = _python(file, file.tree, bases, added, keys[file]), file.path.name
    # A folder each: the copies keep their names, which configs can read as {{ fileBasename }}.
    copy = Path(tempfile.mkdtemp(dir=folder), name)
    copy.write_text(source, encoding='utf-8')
    return copy, keys


def _with_bases(source: str, bases: list[str]) -> str:
    if not bases:
        return source
    # The last of equal keys is the one that JSON's readers keep.
    return f'{source.rstrip()[:-1]}, {json.dumps(BASE_KEY)}: {json.dumps(bases)}}}'


def _python(file: ConfigFile, tree: ast.Module, bases: list[str], added: Settings, key: str) -> str:
    source = file.source.encode()
    starts = [0]
    for line in source.split(b'\n'):
        starts.append(starts[-1] + len(line) + 1)
    edits = []
    for node, names in _bindings(tree):
        # The parser, unlike a maker of trees, says where a statement ends.
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        end = starts[node.end_lineno - 1] + node.end_col_offset
        if BASE_KEY in names:
            start = starts[node.lineno - 1] + node.col_offset
            blank = '\n' * (node.end_lineno - node.lineno)
            edits.append((start, end, f'{BASE_KEY} = {bases!r}{blank}'))
        behind = [added.behind[name] for name in sorted(names) if name in added.behind]
        edits += [(end, end, f'; {s}') for s in behind]
    for start, end, text in sorted(edits, reverse=True):
        source = source[:start] + text.encode() + source[end:]
    own = (
        f'{key} = {{name: value for name, value in globals().items() if name[0] != "_" '
        "and type(value).__name__ not in ('module', 'function')}"
    )
    restored = [statement(name, value) for name, value in sorted(added.at_end.items())]
    return '\n'.join([source.decode(), own, *restored, ''])


def _bindings(tree: ast.AST) -> Iterator[tuple[ast.stmt, set[str]]]:
    """Yield the statements that set a file's values, outside functions and classes."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Assign | ast.AugAssign) or getattr(node, 'value', None):
            targets = getattr(node, 'targets', [getattr(node, 'target', None)])
            names = {
                name.id
                for target in targets
                if isinstance(target, ast.Name | ast.Tuple | ast.List | ast.Starred)
                for name in ast.walk(target)
                if isinstance(name, ast.Name)
            }
            if names and isinstance(node, ast.stmt):
                yield node, names
        elif not isinstance(node, ast.FunctionDef | ast.ClassDef | ast.expr):
            yield from _bindings(node)


def json_values(source: str) -> dict[str, Any]:
    """Return the values of a JSON file but those that placeholders are to give.

    Args:
        source: its text.
    """
    mark = 'placeholder'
    values = json.loads(PLACEHOLDER_VALUE.sub(json.dumps(mark), source))
    return {key: value for key, value in values.items() if value != mark}


def _literal(value: Any) -> str:
    """Python's text of a plain value; infinities and NaN have none of their own."""
    if isinstance(value, float) and not math.isfinite(value):
        return f'float({str(value)!r})'
    if isinstance(value, list):
        return f'[{", ".join(map(_literal, value))}]'
    if isinstance(value, tuple):
        return f'({"".join(f"{_literal(v)}, " for v in value)})'
    return repr(value)

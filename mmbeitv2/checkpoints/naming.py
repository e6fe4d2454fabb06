"""Tables of tensor names in two namings, and renaming by them in either direction.

A rule is a pair (ours, theirs) of beginnings of names, cut at a dot; ``*`` stands for a number, the
same on both sides. The first rule that fits a name is used; a name that none fits is kept.
"""

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from mmbeitv2.errors import InputError

Rules = tuple[tuple[str, str], ...]


def within(ours: str, theirs: str, rules: Iterable[tuple[str, str]]) -> Rules:
    """Rules of a part, which is called ``ours`` and ``theirs`` in the whole (empty: no prefix)."""
    return tuple((_join(ours, a), _join(theirs, b)) for a, b in rules)


def rename_to_ours(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Tensors by our names.

    Raises:
        ValueError: two tensors get the same name.
    """
    return _rename(state, [(theirs, ours) for ours, theirs in rules])


def rename_to_theirs(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """Tensors by their names.

    Raises:
        ValueError: two tensors get the same name.
    """
    return _rename(state, rules)


def num_layers(state: dict[str, Tensor], name: str) -> int:
    """Number of layers ``name.0``, ``name.1``, … among the tensors."""
    numbers = [int(m[1]) for key in state if (m := re.match(rf'{re.escape(name)}\.(\d+)\.', key))]
    return max(numbers, default=-1) + 1


def with_prefix(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Tensors whose name begins with ``prefix``, without it."""
    return {name[len(prefix) :]: v for name, v in state.items() if name.startswith(prefix)}


def _rename(state: Mapping[str, Tensor], rules: Iterable[tuple[str, str]]) -> dict[str, Tensor]:
    compiled = [(_pattern(old), _template(new)) for old, new in rules]
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        match = next(((m, t) for p, t in compiled if (m := p.match(name))), None)
        new = name if match is None else match[0].expand(match[1]) + name[match[0].end() :]
        if new in renamed:
            raise InputError(f'two tensors of the checkpoint are called {new} here.')
        renamed[new] = value
    return renamed


def _join(prefix: str, name: str) -> str:
    return f'{prefix}.{name}' if prefix else name


def _pattern(beginning: str) -> re.Pattern[str]:
    return re.compile(re.escape(beginning).replace(r'\*', r'(\d+)') + r'(?=\.|$)')


def _template(beginning: str) -> str:
    numbers = iter(range(1, beginning.count('*') + 1))
    return re.sub(r'\*', lambda _: rf'\g<{next(numbers)}>', beginning)

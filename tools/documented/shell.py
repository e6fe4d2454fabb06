"""A command of a shell taken apart: the single commands between ``&&`` and ``|``, their words."""

import re
import shlex
from typing import NamedTuple

OPERATORS = ('&&', '||', '|', ';')
ASSIGNMENT = re.compile(r'[A-Za-z_]\w*=')
CHOICE = re.compile(r'\{([\w-]+(?:,[\w-]+)+)\}')


class Simple(NamedTuple):
    """One program and its arguments."""

    program: str
    arguments: list[str]


def simple_commands(text: str) -> list[Simple]:
    """Take a line apart.

    ``python tools/train.py X`` and ``bash tools/x.sh X`` are the program ``tools/…``; ``python -m
    pytest X`` is the program ``pytest``.

    Args:
        text: one line of a shell.

    Raises:
        ValueError: a quote is open.
    """
    lexer = shlex.shlex(text, posix=True, punctuation_chars='&|;<>')
    lexer.whitespace_split = True
    found, words = [], []
    for word in [*lexer, ';']:
        if word not in OPERATORS:
            words.append(word)
            continue
        if words:
            found.append(_simple(words))
        words = []
    return found


def _simple(words: list[str]) -> Simple:
    while len(words) > 1 and (ASSIGNMENT.match(words[0]) or words[0] in ('sudo', 'exec')):
        words = words[1:]
    if '>' in words:
        words = words[: words.index('>')]
    program, arguments = words[0], words[1:]
    if program in ('python', 'bash') and arguments:
        if arguments[0] == '-m':
            return Simple(arguments[1], arguments[2:])
        return Simple(arguments[0], arguments[1:])
    return Simple(program, arguments)


def expand_choices(text: str) -> list[str]:
    """Each command that ``{a,b,c}`` of a usage line stands for.

    Args:
        text: one line of a shell.
    """
    found = CHOICE.search(text)
    if found is None:
        return [text]
    return [text[: found.start()] + one + text[found.end() :] for one in found[1].split(',')]

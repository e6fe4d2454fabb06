"""The blocks of the documentation, and the commands in them and in the configs' docstrings."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SHELL = ('bash', 'sh', 'console')
# Trees of folders, output, data: nothing that could be run.
PROSE = ('text', 'yaml', 'toml', 'json', 'bibtex')
LANGUAGES = (*SHELL, 'python', *PROSE)
FENCE = re.compile(r'^( *)(`{3,}|~{3,}) *(\S*)')
# On the lines before a fence, as in <!-- needs: gpu -->; what they mean is said in Block.
NOTE = re.compile(r'^\s*<!-- (needs|base|copy|then): (.+?) -->\s*$')
COMMENT = re.compile(r'(^|\s+)#(\s.*)?$')
INLINE = re.compile(r'`((?:python|bash) tools/[^`]+|python -m pytest [^`]+|tools/\w+\.sh [^`]+)`')
IN_DOCSTRING = re.compile(r'^    ((?:\w+=\S+ )*(?:python |bash |tools/\w+\.sh ).+)$')


class Block(NamedTuple):
    """A fenced block, and what the notes before it say.

    Args:
        page: path from the repository on.
        line: of the fence.
        language: the word behind the fence.
        text: what stands between the fences.
        needs: what cannot be had everywhere: the block is not tried.
        base: config that a block of a config inherits.
        copy: config at the end of a copy of which the block stands.
        then: statement that a user would write after the block.
    """

    page: str
    line: int
    language: str
    text: str
    needs: str = ''
    base: str = ''
    copy: str = ''
    then: str = ''

    @property
    def place(self) -> str:
        """Where it stands, as ``PAGE:LINE``."""
        return f'{self.page}:{self.line}'


class Command(NamedTuple):
    """One command of a shell, joined to a line, with its comment and prompt left out."""

    page: str
    line: int
    text: str
    needs: str = ''

    @property
    def place(self) -> str:
        """Where it stands, as ``PAGE:LINE``."""
        return f'{self.page}:{self.line}'


def pages(root: Path) -> list[Path]:
    """The pages of the repository, relative to it: README first, then docs, then the others."""
    found = [root / 'README.md', root / 'CONTRIBUTING.md', *sorted((root / 'docs').rglob('*.md'))]
    others = [root / 'SECURITY.md', root / 'CHANGELOG.md', root / 'demo' / 'README.md']
    return [path.relative_to(root) for path in [*found, *others] if path.is_file()]


def blocks(text: str, page: str) -> Iterator[Block]:
    """Yield the fenced blocks of a page.

    Args:
        text: of the page, Markdown.
        page: its name.
    """
    notes: dict[str, str] = {}
    opened: tuple[int, str, str, int] | None = None
    content: list[str] = []
    for number, line in enumerate(text.splitlines(), start=1):
        fence = FENCE.match(line)
        if opened is not None:
            start, mark, language, indent = opened
            if fence and fence[2].startswith(mark) and not fence[3]:
                body = '\n'.join(row[indent:] for row in content) + '\n'
                yield Block(page, start, language, body, **notes)
                opened, content, notes = None, [], {}
            else:
                content.append(line)
        elif fence:
            opened = (number, fence[2], fence[3], len(fence[1]))
        elif note := NOTE.match(line):
            notes[note[1]] = note[2]
        elif line.strip():
            # A note is of the block that follows it at once.
            notes = {}


def commands(block: Block) -> Iterator[Command]:
    """Yield the commands of a block of a shell, lines that go on joined.

    Args:
        block: whose language is one of ``SHELL``.
    """
    joined, start = '', 0
    for offset, row in enumerate(block.text.splitlines(), start=1):
        if block.language == 'console' and not joined and not row.startswith('$ '):
            continue
        start = start or block.line + offset
        joined += COMMENT.sub('', row.removeprefix('$ ') if block.language == 'console' else row)
        if joined.endswith('\\'):
            joined = joined[:-1].rstrip() + ' '
            continue
        if joined.strip():
            yield Command(block.page, start, ' '.join(joined.split()), block.needs)
        joined, start = '', 0


def inline_commands(root: Path, page: Path) -> Iterator[Command]:
    """Yield the commands that a page's sentences name: they are checked, not run.

    Args:
        root: of the repository.
        page: relative to it.
    """
    for number, line in enumerate((root / page).read_text(encoding='utf-8').splitlines(), start=1):
        for found in INLINE.finditer(line):
            yield Command(str(page), number, found[1])


def docstring_commands(root: Path) -> Iterator[Command]:
    """Yield the commands that the configs' docstrings give, indented by four spaces."""
    for path in sorted((root / 'configs').rglob('*.py')):
        docstring = ast.get_docstring(ast.parse(path.read_text()), clean=False) or ''
        for number, line in enumerate(docstring.splitlines(), start=1):
            if found := IN_DOCSTRING.match(line):
                yield Command(str(path.relative_to(root)), number, found[1])


def all_blocks(root: Path) -> list[Block]:
    """Every block of every page of the repository."""
    return [
        block
        for page in pages(root)
        for block in blocks((root / page).read_text(encoding='utf-8'), str(page))
    ]

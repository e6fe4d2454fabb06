"""Every module of a room is on the room's page of the reference, in a section of its own.

A page of ``docs/api`` lists what is to come first, if anything; the rest is added here by name, so
that a new module needs no line anywhere.
"""

import re
from pathlib import Path

from sphinx.application import Sphinx

PACKAGE = Path(__file__).resolve().parents[2] / 'mmbeitv2'
PAGES = 'docs/api/'
# The page of modules that lie in no room. Those of the Python API are described by the names that
# it is imported by.
COMMON, BY_NAME = 'common', 'apis'


def modules_of(page: str) -> list[str]:
    """Modules that a page of the reference describes, as they are imported.

    Args:
        page: its name within ``docs/api``: that of a room, or ``common``.
    """
    paths = PACKAGE.glob('*.py') if page == COMMON else (PACKAGE / page).rglob('*.py')
    modules = [path.relative_to(PACKAGE.parent) for path in paths if path.name[:2] != '__']
    return sorted('.'.join(path.with_suffix('').parts) for path in modules)


def add_modules(app: Sphinx, docname: str, source: list[str]) -> None:
    """Add sections for the modules that a page does not have yet."""
    page = docname.removeprefix(PAGES)
    if page == docname or page in ('index', BY_NAME):
        return
    described = re.findall(r'^\.\. automodule:: (\S+)$', source[0], re.M)
    room = 'mmbeitv2.' if page == COMMON else f'mmbeitv2.{page}.'
    for module in modules_of(page):
        if module not in described:
            title = f'``{module.removeprefix(room)}``'
            source[0] += f'\n{title}\n{"-" * len(title)}\n\n.. automodule:: {module}\n'


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    app.connect('source-read', add_modules)
    return {'parallel_read_safe': True}

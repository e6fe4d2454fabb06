"""Links of pages to files and folders of the repository lead to pages of the site.

A page says ``[tools/train.py](../tools/train.py)``, which a code host follows. Here the file gets a
page with its text, and a folder one with its files and what they say they are. The reference's
``[source]`` leads to these pages too.
"""

import ast
import html
import importlib
import inspect
import operator
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from pygments.lexers import get_lexer_for_filename
from pygments.util import ClassNotFound
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.osutil import relative_uri

TEXTS = ('.cff', '.css', '.json', '.md', '.py', '.sh', '.toml', '.txt', '.yaml', '.yml')
ROOT = Path(__file__).resolve().parents[2]
LOGGER = logging.getLogger(__name__)


def site_page(path: Path) -> str:
    """Name of the page of a file or folder, whose path is relative to the repository."""
    return f'files/{path.as_posix()}'


def source_of(domain: str, described: dict[str, str]) -> str | None:
    """Where the text of an object of the reference is, from a page of ``docs/api``.

    Args:
        domain: ``'py'``.
        described: module and full name, as ``sphinx.ext.linkcode`` gives them.

    Returns:
        A relative address, or None where there is no text, as for attributes.
    """
    try:
        module = importlib.import_module(described['module'])
        thing = inspect.unwrap(operator.attrgetter(described['fullname'])(module))
        thing = thing.fget if isinstance(thing, property) else thing
        _, line = inspect.getsourcelines(thing)
        path = Path(inspect.getsourcefile(thing))
    except (AttributeError, TypeError, OSError):
        return None
    if not path.is_relative_to(ROOT):
        return None
    return f'../../{site_page(path.relative_to(ROOT))}.html#L-{line}'


def link_files(app: Sphinx, doctree: nodes.document) -> None:
    """Replace links to files that are no pages by links to those that ``collect_pages`` makes.

    MyST makes a download of a file, under a name of its own, and does not find a folder.
    """
    page = app.env.docname
    for node in list(doctree.findall(_is_file_link)):
        target = node['reftarget'].partition('#')[0]
        path = (Path(ROOT, page).parent / target).resolve()
        if not target or not path.exists():
            continue
        if not path.is_relative_to(ROOT):
            LOGGER.warning('a link leaves the repository: %s', target, location=node)
            continue
        path = path.relative_to(ROOT)
        linked_files(app).add(path)
        uri = relative_uri(app.builder.get_target_uri(page), f'{site_page(path)}.html')
        link = nodes.reference('', '', *node[0].children, internal=True, refuri=uri)
        node.replace_self(link)


def _is_file_link(node: nodes.Node) -> bool:
    kinds = (addnodes.download_reference, addnodes.pending_xref)
    return isinstance(node, kinds) and node['reftype'] == 'myst' and node['refdomain'] is None


def linked_files(app: Sphinx) -> set[Path]:
    """Files and folders that pages link to."""
    if not hasattr(app.env, 'linked_files'):
        app.env.linked_files = set()
    return app.env.linked_files


def collect_pages(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Pages of the package's files, of linked files and folders, and of the texts in these."""
    folders = {path for path in linked_files(app) if (ROOT / path).is_dir()}
    files = linked_files(app) - folders
    for folder in {Path('mmbeitv2'), *folders}:
        # Of tests a name and a line are enough.
        files |= {path for path in texts_in(folder) if path.parts[0] != 'tests'}
    for path in sorted(files):
        body = f'<h1>{html.escape(str(path))}</h1>{highlighted(app, ROOT / path)}'
        yield site_page(path), {'title': str(path), 'body': body}, 'page.html'
    for folder in sorted(folders):
        body = listing(folder, files)
        yield site_page(folder), {'title': f'{folder}/', 'body': body}, 'page.html'


def texts_in(folder: Path) -> list[Path]:
    """Files of text below a folder, relative to the repository."""
    paths = [path for path in (ROOT / folder).rglob('*') if path.suffix in TEXTS]
    return sorted(path.relative_to(ROOT) for path in paths if '__pycache__' not in path.parts)


def highlighted(app: Sphinx, path: Path) -> str:
    """HTML of a file's text, with an anchor at each line."""
    text = path.read_text(encoding='utf-8')
    try:
        language = get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        language = 'text'
    return app.builder.highlighter.highlight_block(text, language, lineanchors='L')


def listing(folder: Path, files: set[Path]) -> str:
    """HTML of a folder's files, each with the first line of what it says it is."""
    rows = []
    for path in texts_in(folder):
        name = html.escape(str(path.relative_to(folder)))
        if path in files:
            uri = relative_uri(f'{site_page(folder)}.html', f'{site_page(path)}.html')
            name = f'<a class="reference internal" href="{uri}">{name}</a>'
        rows.append(f'<tr><td>{name}</td><td>{html.escape(summary(ROOT / path))}</td></tr>')
    return (
        f'<h1>{html.escape(str(folder))}/</h1>'
        f'<div class="table-wrapper"><table class="docutils"><tbody>{"".join(rows)}</tbody>'
        '</table></div>'
    )


def summary(path: Path) -> str:
    """First line of a file's docstring or of its comment, or nothing."""
    text = path.read_text(encoding='utf-8')
    if path.suffix == '.py':
        return (ast.get_docstring(ast.parse(text)) or '').partition('\n')[0]
    comments = [line[2:] for line in text.splitlines()[:2] if line.startswith('# ')]
    return comments[0] if comments else ''


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    # Before Sphinx collects downloads, at 500.
    app.connect('doctree-read', link_files, priority=400)
    app.connect('html-collect-pages', collect_pages)
    return {'parallel_read_safe': False}

"""Links of pages to files and folders of the repository lead to pages of the site.

A page says ``[tools/train.py](../tools/train.py)``, which a code host follows. Here the file gets a
page with its text, a folder one with its files and what they say they are, and a module of the
package the page that ``sphinx.ext.viewcode`` makes of it.
"""

import ast
import html
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
LOGGER = logging.getLogger(__name__)


def site_page(path: Path) -> str:
    """Name of the page of a file or folder, whose path is relative to the repository."""
    if path.suffix == '.py' and path.parts[0] == 'mmbeitv2':
        return '_modules/' + path.with_suffix('').as_posix()
    return f'files/{path.as_posix()}'


def link_files(app: Sphinx, doctree: nodes.document) -> None:
    """Replace links to files that are no pages by links to those that ``collect_pages`` makes.

    MyST makes a download of a file, under a name of its own, and does not find a folder.
    """
    page = app.env.docname
    for node in list(doctree.findall(_is_file_link)):
        target = node['reftarget'].partition('#')[0]
        path = (Path(app.srcdir, page).parent / target).resolve()
        if not target or not path.exists():
            continue
        if not path.is_relative_to(app.srcdir):
            LOGGER.warning('a link leaves the repository: %s', target, location=node)
            continue
        path = path.relative_to(app.srcdir)
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
    """Pages of the linked files, of the linked folders, and of the texts in these."""
    root = Path(app.srcdir)
    folders = {path for path in linked_files(app) if (root / path).is_dir()}
    files = linked_files(app) - folders
    for folder in folders:
        files |= {path for path in texts_in(folder, root) if path.parts[0] != 'tests'}
    for path in sorted(files):
        page = site_page(path)
        if not page.startswith('_modules/'):
            body = f'<h1>{html.escape(str(path))}</h1>{highlighted(app, root / path)}'
            yield page, {'title': str(path), 'body': body}, 'page.html'
    for folder in sorted(folders):
        body = listing(folder, root, files, site_page(folder))
        yield site_page(folder), {'title': str(folder), 'body': body}, 'page.html'


def texts_in(folder: Path, root: Path) -> list[Path]:
    """Files of text below a folder, relative to the repository."""
    paths = [path for path in (root / folder).rglob('*') if path.suffix in TEXTS]
    return sorted(path.relative_to(root) for path in paths if '__pycache__' not in path.parts)


def highlighted(app: Sphinx, path: Path) -> str:
    """HTML of a file's text."""
    text = path.read_text(encoding='utf-8')
    try:
        language = get_lexer_for_filename(path.name).aliases[0]
    except ClassNotFound:
        language = 'text'
    return app.builder.highlighter.highlight_block(text, language)


def listing(folder: Path, root: Path, files: set[Path], page: str) -> str:
    """HTML of a folder's files, each with the first line of what it says it is."""
    rows = []
    for path in texts_in(folder, root):
        name = html.escape(str(path.relative_to(folder)))
        if path in files:
            uri = relative_uri(f'{page}.html', f'{site_page(path)}.html')
            name = f'<a class="reference internal" href="{uri}">{name}</a>'
        rows.append(f'<tr><td>{name}</td><td>{html.escape(summary(root / path))}</td></tr>')
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

"""Where the links of built pages lead: to a file of the site and an anchor in it, or to nowhere."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser loads by itself; a link of an `a` is followed by a reader alone.
LOADING = {('img', 'src'), ('script', 'src'), ('link', 'href'), ('iframe', 'src')}
STYLE_ADDRESS = re.compile(r'(?:url\(\s*["\']?|@import\s+["\'])(https?:|//)')


@dataclass
class Page(HTMLParser):
    """The anchors and links of a page."""

    anchors: set[str] = field(default_factory=set)
    links: list[tuple[str, str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Called by the parser for each element."""
        for name, value in attrs:
            if name == 'id' or (tag, name) == ('a', 'name'):
                self.anchors.add(value or '')
            elif name in ('href', 'src'):
                self.links.append((tag, name, value or ''))


def faults_of(site: Path) -> list[str]:
    """What is wrong with the links of a site, a line each.

    Args:
        site: folder of the built pages.
    """
    pages = {path.relative_to(site).as_posix(): read(path) for path in site.rglob('*.html')}
    faults = [fault for name, page in pages.items() for fault in _faults(name, page, pages, site)]
    styles = [path for path in site.rglob('*.css') if STYLE_ADDRESS.search(path.read_text())]
    return sorted({*faults, *(f'{path.name} loads from another host' for path in styles)})


def read(path: Path) -> Page:
    """The anchors and links of a file of HTML."""
    page = Page()
    page.feed(path.read_text(encoding='utf-8'))
    return page


def _faults(name: str, page: Page, pages: dict[str, Page], site: Path) -> Iterator[str]:
    for tag, attribute, link in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if (tag, attribute) in LOADING and parts.scheme != 'data':
                yield f'{name}: loads {link} from another host'
            continue
        folder = posixpath.dirname(name)
        target = posixpath.normpath(posixpath.join(folder, unquote(parts.path)))
        target = target if parts.path else name
        if not (site / target).is_file():
            yield f'{name}: {link} leads to no file'
        elif parts.fragment and unquote(parts.fragment) not in pages[target].anchors:
            yield f'{name}: {link} leads to no anchor of {target}'

"""Draw the rooms of the repository and write their table into docs/architecture.md.

    python tools/draw_architecture.py
    python tools/draw_architecture.py --check

The second form writes nothing: it fails if an import runs up or in a circle, or if page or picture
show another structure than the files have. Lines of code change with every commit and are not held.
"""

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from architecture import (
    BESIDE,
    FLOORS,
    PURPOSES,
    ROOT,
    circle,
    climbing,
    import_graph,
    room_folder,
    room_imports,
    room_lines,
)
from PIL import Image
from PIL.PngImagePlugin import PngInfo

PAGE = ROOT / 'docs/architecture.md'
PICTURE = ROOT / 'docs/images/architecture.png'
BEGIN, END = '<!-- rooms -->', '<!-- end of rooms -->'
# Key of the PNG's text under which it holds the structure that it shows.
STRUCTURE = 'structure'
LINES = re.compile(r'\d+\.\d k')


def in_thousands(number: int) -> str:
    """Lines to the nearest hundred: ``0.9 k``."""
    return f'{number / 1000:.1f} k'


def table(imported: Mapping[str, set[str]], counts: Mapping[str, int]) -> str:
    """The rooms from the top floor down as a Markdown table."""
    rows = ['| room | what it is for | imports | lines |', '| --- | --- | --- | --- |']
    for floor in (*reversed(FLOORS), BESIDE):
        for room in floor:
            below = ', '.join(_by_height(imported.get(room, ()))) or '–'
            if room in BESIDE:
                below = 'all of them' if room == 'tests' else '–, name classes by registry'
            name = f'[`{room_folder(room)}`](../{room_folder(room)})'
            rows.append(f'| {name} | {PURPOSES[room]} | {below} | {in_thousands(counts[room])} |')
    return '\n'.join(rows)


def _by_height(rooms: Sequence[str]) -> list[str]:
    order = [room for floor in reversed(FLOORS) for room in floor]
    return sorted(rooms, key=order.index)


def between_markers(text: str) -> tuple[str, str, str]:
    """A page before, within and after the two markers.

    Raises:
        ValueError: the page lacks the markers.
    """
    if BEGIN not in text or END not in text:
        raise ValueError(f'the page has no place for the table: add the lines {BEGIN} and {END}')
    before, rest = text.split(BEGIN, 1)
    inside, after = rest.split(END, 1)
    return before, inside.strip(), after


def faults(
    graph: Mapping[Path, set[Path]], page: Path = PAGE, picture: Path = PICTURE
) -> list[str]:
    """What is wrong with the structure, or out of date on the page and in the picture."""
    found = climbing(graph)
    if way := circle(graph):
        found.append(f'files import one another in a circle: {" → ".join(map(str, way))}')
    if found:
        return found
    imported, counts = room_imports(graph), room_lines()
    written = between_markers(page.read_text(encoding='utf-8'))[1]
    if LINES.sub('', written) != LINES.sub('', table(imported, counts)):
        found.append(f'{page.name} shows another structure: run python tools/draw_architecture.py')
    with Image.open(picture) as image:
        if image.text.get(STRUCTURE) != structure(imported):
            found.append(
                f'{picture.name} shows another structure: run python tools/draw_architecture.py'
            )
    return found


def structure(imported: Mapping[str, set[str]]) -> str:
    """The structure as text, kept within the picture."""
    rooms = {room: sorted(below) for room, below in sorted(imported.items())}
    return json.dumps(dict(floors=FLOORS, imports=rooms, purposes=PURPOSES))


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description='Draw the rooms of the repository')
    parser.add_argument('--check', action='store_true', help='write nothing, fail on differences')
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    graph = import_graph()
    if args.check:
        if found := faults(graph):
            sys.exit('\n'.join(found))
        print(f'{len(graph)} files: no import runs up, none in a circle; page and picture fit')
        return
    if found := climbing(graph):
        sys.exit('\n'.join(found))
    # Here, so that a check needs neither matplotlib nor torch.
    from architecture_picture import draw

    imported, counts = room_imports(graph), room_lines()
    figure = draw(imported, {room: in_thousands(count) for room, count in counts.items()})
    text = PngInfo()
    text.add_text(STRUCTURE, structure(imported))
    figure.save(PICTURE, pnginfo=text, optimize=True)
    try:
        before, _, after = between_markers(PAGE.read_text(encoding='utf-8'))
    except ValueError as error:
        sys.exit(f'error: {error}')
    content = f'{before}{BEGIN}\n{table(imported, counts)}\n{END}{after}'
    PAGE.write_text(content, encoding='utf-8')
    print(f'{PICTURE.relative_to(ROOT)} and {PAGE.relative_to(ROOT)} written')


if __name__ == '__main__':
    main()

"""Read the repository's structure from its files: rooms, imports between them, lines.

Nothing is imported or run: the files are parsed. The order of the rooms is declared here alone, in
``FLOORS``; ``draw_architecture.py`` draws it and ``tests/test_architecture.py`` holds it.
"""

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = 'mmbeitv2'
# From the ground up: a room may import those of lower floors and itself, no other.
FLOORS = (
    ('registry',),
    ('checkpoints', 'datasets'),
    ('models',),
    ('evaluation', 'engine', 'exchange', 'visualization'),
    ('launch', 'apis', 'reports'),
    ('tools',),
)
# Beside the floors: configs import nothing, tests may import everything.
BESIDE = ('configs', 'tests')
PURPOSES = {
    'registry': 'where configs find classes by name; errors, version, checks of the installation',
    'datasets': 'a photo to crop, views and mask; batches to the device',
    'checkpoints': "any project's file to tensors under our names; knows no model",
    'models': 'the paper: ViT, quantizer, VQ-KD, teachers, BEiT v2',
    'engine': 'hooks, precision, optimiser groups, sharding',
    'evaluation': 'metrics: is it learning?',
    'exchange': 'a model from a file, files for other projects, both compared',
    'visualization': 'tensors and photos to a figure',
    'launch': 'what the command-line tools share: config, checks, batch, runner',
    'apis': 'what a script or notebook calls',
    'reports': 'pages made of figures and records',
    'tools': 'the commands, and the benchmarks',
    'configs': 'every run of the paper, templates, the demo',
    'tests': 'mirror the package; whole runs, faults, equality',
}


def python_files(root: Path = ROOT) -> list[Path]:
    """Python files of all rooms, relative to ``root``."""
    folders = (PACKAGE, 'tools', *BESIDE)
    return sorted(p.relative_to(root) for folder in folders for p in (root / folder).rglob('*.py'))


def room_of(path: Path) -> str:
    """Room of a file; the files that lie in the package itself are the registry's."""
    if path.parts[0] != PACKAGE:
        return path.parts[0]
    return path.parts[1] if len(path.parts) > 2 else 'registry'


def room_folder(room: str) -> str:
    """Where a room lies, from the repository on."""
    if room == 'registry':
        return f'{PACKAGE}/registry.py'
    return f'{room}/' if room in ('tools', *BESIDE) else f'{PACKAGE}/{room}/'


def imports(path: Path, root: Path = ROOT) -> set[Path]:
    """Files of this repository that a file imports, at its top or inside of functions.

    Names are looked up from the repository, and for tools from their own folder, as Python does.
    """
    found = set()
    for node in ast.walk(ast.parse((root / path).read_text(encoding='utf-8'))):
        for meanings in _meanings(node, path):
            places = [root / Path(*names) for names in meanings]
            if path.parts[0] != PACKAGE:
                places += [root / path.parent / Path(*names) for names in meanings]
            files = filter(None, map(_file_of, places))
            found.update(file.relative_to(root) for file in list(files)[:1])
    return found - {path}


def _meanings(node: ast.AST, path: Path) -> Iterator[list[tuple[str, ...]]]:
    """For each name that is imported the modules that it may mean, the likelier one first."""
    if isinstance(node, ast.Import):
        yield from ([tuple(alias.name.split('.'))] for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = path.parts[: len(path.parts) - node.level] if node.level else ()
        module = (*above, *(node.module.split('.') if node.module else ()))
        # `from package import name`: a module of the package, or what its __init__ gathers.
        yield from ([(*module, alias.name), module] for alias in node.names)


def _file_of(place: Path) -> Path | None:
    for file in (place.with_suffix('.py'), place / '__init__.py'):
        if file.is_file():
            return file
    return None


def import_graph(root: Path = ROOT) -> dict[Path, set[Path]]:
    """Files of the package and of the tools, and what each imports."""
    files = [p for p in python_files(root) if p.parts[0] in (PACKAGE, 'tools')]
    return {path: imports(path, root) for path in files}


def room_imports(graph: Mapping[Path, set[Path]]) -> dict[str, set[str]]:
    """The rooms that each room imports."""
    found = {room: set() for floor in FLOORS for room in floor}
    for path, targets in graph.items():
        found.setdefault(room_of(path), set()).update(map(room_of, targets))
    return {room: targets - {room} for room, targets in found.items()}


def climbing(graph: Mapping[Path, set[Path]]) -> list[str]:
    """Imports that run up or sideways, and rooms that have no floor: none is allowed."""
    height = {room: i for i, floor in enumerate(FLOORS) for room in floor}
    faults = [f'{room} has no floor' for room in {room_of(p) for p in graph} - height.keys()]
    for path, targets in graph.items():
        for target in sorted(targets):
            here, there = room_of(path), room_of(target)
            if here != there and height.get(here, -1) <= height.get(there, -1):
                faults.append(f'{path} imports {target}: {there} is not below {here}')
    return sorted(faults)


def circle(graph: Mapping[Path, set[Path]]) -> list[Path]:
    """Files that import one another round in a circle, first and last the same; empty if none."""
    done, way = set(), []

    def visit(path: Path) -> list[Path]:
        if path in way:
            return way[way.index(path) :] + [path]
        if path in done:
            return []
        way.append(path)
        for target in sorted(graph.get(path, ())):
            if found := visit(target):
                return found
        done.add(way.pop())
        return []

    return next((found for path in graph if (found := visit(path))), [])


def lines(path: Path, root: Path = ROOT) -> int:
    """Lines of a file, as an editor counts them."""
    return len((root / path).read_text(encoding='utf-8').splitlines())


def room_lines(root: Path = ROOT) -> dict[str, int]:
    """Lines of Python of each room."""
    counts = {room: 0 for floor in (*FLOORS, BESIDE) for room in floor}
    for path in python_files(root):
        counts[room_of(path)] = counts.get(room_of(path), 0) + lines(path, root)
    return counts

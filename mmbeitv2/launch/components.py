"""One component of a config against the class it names: is there such a one, does it take this."""

import ast
import inspect
import textwrap
from collections.abc import Collection, Mapping
from typing import Any

from mmengine.registry import Registry

from mmbeitv2.errors import InputError
from mmbeitv2.launch.config_keys import nearest

# Not handed to constructors.
BUILDERS_KEYS = {'type', '_scope_'}


def check_component(
    component: Any,
    key: str,
    registry: Registry,
    scope: str | None,
    *,
    default: str | None = None,
    given: Collection[str] = (),
    complete: bool = True,
) -> None:
    """Check the type of a component, and its arguments against the constructor's.

    Args:
        component: its config.
        key: dotted, where it stands.
        registry: mmengine's root registry of such components.
        scope: the run's ``default_scope``.
        default: type of a component that names none; None where it must.
        given: arguments that whoever builds it adds, or takes out before.
        complete: whether those and the config's are all that the constructor gets.

    Raises:
        ValueError: it is no dictionary; its type is missing or unknown; or an argument is missing
            or unknown. Names the key and what is alike.
    """
    if not isinstance(component, Mapping):
        raise InputError(f'{key} is {component!r}, allowed: dict(type=..., ...)')
    kind = component.get('type', default)
    if kind is None or kind == '':
        raise InputError(f'{key} names no type: set {key}.type to a registered {registry.name}')
    if isinstance(kind, str):
        kind = _resolve(kind, f'{key}.type', registry, component.get('_scope_', scope))
    if not callable(kind):
        named = component.get('type', default)
        raise InputError(f'{key}.type is {named!r}, allowed: the name of a {registry.name}')
    arguments = set(component) - BUILDERS_KEYS
    taken = accepted(kind)
    for name in sorted(arguments - set(given)):
        if taken is not None and name not in taken:
            meant = nearest(name, taken, 0.6)
            cure = f'did you mean {meant}?' if meant else f'allowed: {", ".join(sorted(taken))}'
            raise InputError(f'{key}.{name}: {kind.__name__} takes no {name}; {cure}')
    missing = sorted(_required(kind) - arguments - set(given)) if complete else []
    if missing:
        needed = ', '.join(missing)
        raise InputError(f'{key}: {kind.__name__} needs {needed}: set {key}.{missing[0]}')


def _resolve(name: str, key: str, registry: Registry, scope: str | None) -> Any:
    with registry.switch_scope_and_registry(scope) as scoped:
        found = scoped.get(name)
        if found is not None:
            return found
        known = set(scoped.module_dict) | set(registry.module_dict)
    for child, below in registry.children.items():
        known |= {f'{child}.{known_name}' for known_name in below.module_dict}
    meant = nearest(name, known, 0.6) or nearest(name.split('.')[-1], known, 0.7)
    cure = f'did you mean {meant}?' if meant else 'is its module in custom_imports?'
    raise InputError(f'{key} is {name!r}, which is no registered {registry.name}: {cure}')


def accepted(kind: Any) -> set[str] | None:
    """Return the arguments that a class or function takes by name; None where that is open.

    Args:
        kind: a class; its ``**kwargs`` are followed to its bases' constructor where they are
            handed on to that and to nothing else.
    """
    names: set[str] = set()
    for call in _constructors(kind):
        try:
            parameters = inspect.signature(call).parameters.values()
        except (TypeError, ValueError):  # of C
            return None
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind == p.VAR_KEYWORD for p in parameters):
            return names - {'self'}
        if not _hands_on(call):
            return None
    return None


def _constructors(kind: Any) -> list[Any]:
    if not inspect.isclass(kind):
        return [kind]
    return [
        base.__dict__['__init__']
        for base in kind.__mro__
        if '__init__' in base.__dict__ and base is not object
    ]


def _hands_on(call: Any) -> bool:
    """Whether a constructor's ``**kwargs`` go to its bases' alone."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(call)))
    except (OSError, TypeError, SyntaxError):
        return False
    function = tree.body[0]
    name = function.args.kwarg if isinstance(function, ast.FunctionDef) else None
    if name is None:
        return False
    uses = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == name.arg]
    handed = [
        keyword.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func).startswith('super(')
        for keyword in node.keywords
        if keyword.arg is None
    ]
    # What is read or given a default there is handed on all the same.
    read = [
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ('get', 'setdefault')
    ]
    return bool(handed) and all(any(use is n for n in (*handed, *read)) for use in uses)


def _required(kind: Any) -> set[str]:
    """Arguments without a default, through constructors that hand all of theirs on."""
    names: set[str] = set()
    for call in _constructors(kind):
        try:
            parameters = list(inspect.signature(call).parameters.values())
        except (TypeError, ValueError):
            return names
        names |= {
            p.name
            for p in parameters[inspect.isclass(kind) :]
            if p.default is p.empty and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        kinds = {p.kind for p in parameters}
        if not {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD} <= kinds:
            return names
        if not _hands_on(call):
            return names
    return names

"""Modules that are called otherwise today: whoever imports an old name is told the new one."""

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_ROOMS = {
    ('apis', 'launch'): ('batch', 'config', 'preflight'),
    ('checkpoints', 'exchange'): (
        *('architecture', 'building', 'conversion', 'equality'),
        *('exporting', 'peers', 'writing'),
    ),
    ('visualization', 'reports'): ('baselines', 'html', 'quickstart', 'summary'),
}
MOVED = {'mmbeitv2.apis.launch': 'mmbeitv2.launch.runner'} | {
    f'mmbeitv2.{old}.{name}': f'mmbeitv2.{new}.{name}'
    for (old, new), names in _ROOMS.items()
    for name in names
}


class MovedModules(MetaPathFinder):
    """Asked after all other finders, for modules that none of them knows."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find nothing.

        Raises:
            ModuleNotFoundError: the module has another name today; the message says which.
        """
        if fullname in MOVED:
            # Without the error's name: `from package import module` would swallow one that has it.
            raise ModuleNotFoundError(f'{fullname} is called {MOVED[fullname]} now: import that.')
        return None


def announce_moved_modules() -> None:
    """Have imports of old names fail with the new one."""
    if not any(isinstance(finder, MovedModules) for finder in sys.meta_path):
        sys.meta_path.append(MovedModules())

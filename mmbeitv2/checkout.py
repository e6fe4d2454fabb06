"""Which commit this package is, where it runs from a checkout."""

import subprocess
from pathlib import Path
from typing import Any


def git_state() -> dict[str, Any]:
    """Commit and changed files of the checkout that this package runs from; empty without one."""

    def git(*arguments: str) -> str:
        return subprocess.run(
            ['git', '-C', str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout

    root = Path(__file__).resolve().parents[1]
    if not (root / '.git').exists():
        return {}
    try:
        changed = git('status', '--porcelain').splitlines()
        return dict(commit=git('rev-parse', 'HEAD').strip(), changed=changed)
    except (OSError, subprocess.CalledProcessError) as error:
        return dict(git=f'not available: {error}')

"""Import the package, or see that the error names the cure: ``python tools/import_or_cure.py``.

Part of ``tools/import_everywhere.sh``; it needs the standard library alone.
"""

import platform
import sys


def main() -> int:
    """Print what happened in one line; 0 if the package was imported or told how to install it."""
    python = f'Python {platform.python_version()}'
    try:
        import mmbeitv2
    except ImportError as error:
        message = str(error)
        if error.name == 'mmbeitv2' and '\n' not in message and "'mmbeitv2[onedl]'" in message:
            print(f'{python}: not installed there, and the error names the cure')
            return 0
        print(f'{python}: {message!r} names no cure', file=sys.stderr)
        return 1
    print(f'{python}: mmbeitv2 {mmbeitv2.__version__} imported')
    return 0


if __name__ == '__main__':
    sys.exit(main())

"""The console command ``mmbeitv2``; where the package cannot be imported, a line says the cure."""

import sys


def main() -> None:
    """Run :func:`mmbeitv2.commands.main`.

    Raises:
        SystemExit: 2 where the OpenMMLab stack is missing or too old.
    """
    try:
        # It imports the standard library alone: nothing but its own check fails here.
        import mmbeitv2  # noqa: F401
    except ImportError as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from None
    from mmbeitv2.commands import main as run_command

    run_command()

"""Importing this first keeps a tool's console free of what the hosts' imports say to nobody.

Two messages are left out, each by its exact words, both of optional parts that nothing here uses:

- ``Could not import OneDL``: mmpretrain and mmsegmentation mean it for debugging, but mmengine's
  ``print_log`` prints whatever the level is where it gets no logger.
- ``Fail to import MultiScaleDeformableAttention``: a warning of mmcv without compiled operators.

Whoever imports the package elsewhere sees them as before.
"""

import contextlib
import importlib
import importlib.util
import io
import warnings
from collections.abc import Iterator, Sequence

LEFT_OUT = ('Could not import OneDL',)
# What prints them; imported by every tool that builds or reads anything.
PRINTING = ('mmpretrain.datasets', 'mmseg.datasets')


@contextlib.contextmanager
def without_lines(lines: Sequence[str]) -> Iterator[None]:
    """Leave whole lines out of what is printed to standard output within.

    Args:
        lines: exact lines, without line breaks. All else is printed at the end, or at an error.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed):
            yield
    finally:
        for line in printed.getvalue().splitlines():
            if line not in lines:
                print(line)


def import_quietly() -> None:
    """Import what prints, without its lines, and leave out the warning whenever it comes."""
    warnings.filterwarnings(
        'ignore', 'Fail to import ``MultiScaleDeformableAttention``', UserWarning, r'mmcv\.'
    )
    with without_lines(LEFT_OUT):
        for module in PRINTING:
            if importlib.util.find_spec(module.split('.')[0]) is not None:
                importlib.import_module(module)


import_quietly()

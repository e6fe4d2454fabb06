"""What a tool imports first, before torch and the hosts: how threads wait, and the console.

How threads wait is said in :mod:`mmbeitv2.launch.threads`. Of what the hosts' imports say to
nobody, three messages are left out, each by its exact words, of optional parts that nothing here
uses:

- ``Could not import OneDL``: mmpretrain and mmsegmentation mean it for debugging, but mmengine's
  ``print_log`` prints whatever the level is where it gets no logger.
- ``Fail to import MultiScaleDeformableAttention``: a warning of mmcv without compiled operators.
- ``TorchScript support for functional optimizers is deprecated``: a warning of torch 2.4, whose
  distributed optimisers mmengine imports.

Whoever imports the package elsewhere sees them as before.

What a console cannot show, such as the bytes of a file name that are no text, or a letter that its
encoding lacks, is printed as its number instead of ending the tool.
"""

import contextlib
import importlib
import importlib.util
import io
import sys
import warnings
from collections.abc import Iterator, Sequence

from mmbeitv2.launch.threads import wait_asleep

LEFT_OUT = ('Could not import OneDL',)
# What warns whatever the filters say, and how its warning begins.
WARNING = 'torch.distributed.optim'
LEFT_OUT_WARNING = '`TorchScript` support for functional optimizers is deprecated'
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


@contextlib.contextmanager
def without_warning(start: str) -> Iterator[None]:
    """Leave out the warnings within that begin with some words, even those no filter stops.

    Args:
        start: The first words. All other warnings are shown at the end, or at an error.
    """
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        for warning in caught:
            if not str(warning.message).startswith(start):
                warnings.showwarning(
                    warning.message, warning.category, warning.filename, warning.lineno
                )


def import_quietly() -> None:
    """Import what prints or warns, without that, and leave out mmcv's warning whenever it comes."""
    warnings.filterwarnings(
        'ignore', 'Fail to import ``MultiScaleDeformableAttention``', UserWarning, r'mmcv\.'
    )
    # Alone: filters that a library sets as it is imported would not outlive the context.
    with without_warning(LEFT_OUT_WARNING), contextlib.suppress(ImportError):
        importlib.import_module(WARNING)
    with without_lines(LEFT_OUT):
        for module in PRINTING:
            if importlib.util.find_spec(module.split('.')[0]) is not None:
                importlib.import_module(module)


def print_anything() -> None:
    """Let standard output and error take every text."""
    for stream in (sys.stdout, sys.stderr):
        # What a notebook or a test has put in their place takes all.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors='backslashreplace')


wait_asleep()
print_anything()
import_quietly()

"""Which weights of a file are taken where it holds their moving average too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.logging import print_log

from mmbeitv2.errors import InputError

# The official fine-tuning, timm.
AVERAGES = ('model_ema', 'state_dict_ema')
# mmengine's EMAHook, which puts the average in the weights' place and the weights here.
EXCHANGED = 'ema_state_dict'


def chosen_key(
    content: Mapping[str, Any], keys: Sequence[str], ema: bool, source: str | Path
) -> str | None:
    """Name under which the weights lie that are to be taken; None where they lie at the top.

    Args:
        content: of a checkpoint file.
        keys: names of plain weights, the first that the file has.
        ema: whether the average is asked for.
        source: of the file, for messages.

    Raises:
        ValueError: the average is asked for, and there is none.
    """
    plain = next((key for key in keys if isinstance(content.get(key), dict)), None)
    average = next((key for key in AVERAGES if isinstance(content.get(key), dict)), None)
    if isinstance(content.get(EXCHANGED), dict):
        print_log(
            f"{source}: {plain} is the moving average of the weights, as mmengine's EMAHook "
            f'writes it; the weights themselves, {EXCHANGED}, are left out',
            logger='current',
        )
        return plain
    if not ema:
        if average is not None and plain is not None:
            print_log(
                f'{source} holds weights ({plain}) and their moving average ({average}): the '
                'weights are taken; ema=True takes the average',
                logger='current',
            )
            return plain
        # A file of the average alone leaves no choice.
        return plain or average
    if average is None:
        raise no_average(source)
    print_log(f'{source}: the moving average of the weights ({average}) is taken', logger='current')
    return average


def no_average(source: str | Path) -> InputError:
    """The error of a file that was to hold an average."""
    return InputError(
        f'{source} holds no moving average of weights ({", ".join((*AVERAGES, EXCHANGED))}), but '
        'ema=True asks for it: leave that out'
    )

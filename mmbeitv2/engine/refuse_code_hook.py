"""Runs of our configs read no code from checkpoints, whoever starts them."""

from mmengine.hooks import Hook

from mmbeitv2.checkpoints.host_reading import refuse_code_in_checkpoints
from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class RefuseCodeHook(Hook):
    """Call :func:`refuse_code_in_checkpoints` when a run is built, before it loads.

    ``tools/train.py`` and ``tools/test.py`` call it themselves. This hook, in a config, does the
    same where mmpretrain's or mmsegmentation's tools, or a ``Runner`` of your own, run that config.
    """

    def __init__(self) -> None:
        # Not in before_run, which FlexibleRunner calls when it has loaded already.
        refuse_code_in_checkpoints()

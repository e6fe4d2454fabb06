"""Validation and testing in the precision of training."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.logging import print_log
from mmengine.runner import BaseLoop, Runner
from mmengine.runner import TestLoop as MMEngineTestLoop
from mmengine.runner import ValLoop as MMEngineValLoop

from mmbeitv2.engine.precision import Precision, choose_precision
from mmbeitv2.registry import LOOPS, type_name


def evaluation_precision(runner: Runner, precision: str | None) -> Precision:
    """Precision of an evaluation.

    Args:
        runner: whose config may have an ``optim_wrapper``.
        precision: of ``PRECISIONS``, or None: that of the run's optimiser wrapper; float32 where
            this is not ``MixedPrecisionOptimWrapper``, and ``'auto'`` without one.

    Raises:
        ValueError: a precision that the device lacks.
    """
    wrapper = runner.cfg.get('optim_wrapper')
    if precision is None and wrapper is not None:
        ours = type_name(wrapper.get('type', '')).split('.')[-1]
        known = dict(MixedPrecisionOptimWrapper='auto', BFloat16OptimWrapper='bfloat16')
        precision = wrapper.get('precision', known[ours]) if ours in known else 'float32'
    return choose_precision(precision or 'auto')


class _MixedPrecision(BaseLoop):
    """What both loops add to mmengine's, whose ``fp16`` casts to autocast's default type alone."""

    def __init__(
        self, runner: Runner, *args: Any, precision: str | None = None, **kwargs: Any
    ) -> None:
        super().__init__(runner, *args, **kwargs)
        self.precision = evaluation_precision(runner, precision)
        # Else mmengine switches autocast off around the model.
        self.fp16 = self.precision.dtype != torch.float32
        print_log(f'evaluation precision: {self.precision}', logger='current')

    def run_iter(self, idx: int, data_batch: Sequence[dict[str, Any]]) -> None:
        """Evaluate one batch."""
        # mmengine's own context inside takes the type from this one.
        with self.precision.autocast():
            super().run_iter(idx, data_batch)


@LOOPS.register_module()
class ValLoop(_MixedPrecision, MMEngineValLoop):
    """mmengine's validation, with ``precision``: see :func:`evaluation_precision`."""


@LOOPS.register_module()
class TestLoop(_MixedPrecision, MMEngineTestLoop):
    """mmengine's test, with ``precision``: see :func:`evaluation_precision`."""

    # Not a test case, whatever pytest makes of the name.
    __test__ = False

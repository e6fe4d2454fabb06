"""Refuse checkpoints that do not fit the model."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner

from mmbeitv2.registry import HOOKS


@HOOKS.register_module()
class ExactCheckpointHook(Hook):
    """Check a checkpoint to test or resume from against the model, tensor by tensor.

    mmengine leaves out what does not fit with a message in the log, so that a test of a classifier
    with another number of classes would report the accuracy of random weights.

    Raises:
        ValueError: a tensor of the model is missing in the checkpoint or has another shape there.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Compare names and shapes."""
        if not isinstance(runner, Runner):
            # FlexibleRunner's models may be sharded: their tensors then have other shapes.
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        state = checkpoint.get('state_dict', checkpoint)
        for name, wanted in model.state_dict().items():
            if not hasattr(wanted, 'shape'):
                continue
            if name not in state:
                raise ValueError(
                    f'the checkpoint has no tensor {name} of {type(model).__name__}: it belongs to '
                    'another config. Weights to start training from are given by init_cfg of the '
                    'backbone, not by load_from.'
                )
            if state[name].shape != wanted.shape:
                raise ValueError(
                    f'{name} has shape {tuple(state[name].shape)} in the checkpoint but '
                    f'{tuple(wanted.shape)} in the model: use the config that it was trained with, '
                    'with the same num_classes, sizes and depths.'
                )

"""What a run loads or resumes: foreign weights are translated; weights alone are not resumed."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from mmbeitv2.checkpoints.loading import fitted, parts_with_start
from mmbeitv2.checkpoints.reading import METADATA_KEY, read_training_checkpoint, weights_in
from mmbeitv2.checkpoints.translation import find_naming, translate, unwrapped
from mmbeitv2.errors import InputError
from mmbeitv2.registry import SCOPE

HOW_TO_START = (
    'start a new run from its weights with load_from (--cfg-options load_from=FILE), or from its '
    'backbone with init_cfg'
)


def translated_state(
    model: nn.Module, content: Mapping[str, Any], source: str
) -> dict[str, Tensor] | None:
    """State dict for a model from what another project or tool wrote.

    Args:
        model: not wrapped.
        content: of the file.
        source: of it, for messages.

    Returns:
        Tensors by the model's names; None where the file has them where mmengine looks for them.

    Raises:
        ValueError: the file holds no weights, or those of another architecture.
    """
    state = unwrapped(weights_in(dict(content), source))
    naming = find_naming(state)
    # A model of the project that the file comes from takes it as it is; of ours, or not at all.
    own = unwrapped(model.state_dict())
    if naming is None or naming.project == SCOPE or naming.signature in own:
        return None if isinstance(content.get('state_dict'), Mapping) else state
    metadata = content.get(METADATA_KEY)
    checkpoint = translate(state, source, metadata if isinstance(metadata, dict) else {})
    try:
        return fitted(model, checkpoint, may_be_missing=parts_with_start(model, checkpoint))
    except InputError as error:
        raise InputError(
            f'{str(error).rstrip(".")}. load_from takes the weights of the very same model: set '
            'init_cfg of the backbone to start from those of another'
        ) from error


def check_training_checkpoint(source: str, resumed: bool) -> None:
    """Raise what a run would that loads or resumes a checkpoint, before the run is built.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`.
        resumed: whether the run goes on from it, see :func:`check_resumable`.

    Raises:
        UserError: there is no such file, it is damaged or holds code, or cannot be resumed.
    """
    content = read_training_checkpoint(source, mapped=True)
    if resumed:
        check_resumable(content, source)


def check_resumable(content: Mapping[str, Any], source: str) -> None:
    """Refuse to resume from what is no training checkpoint of this project.

    Args:
        content: of the file.
        source: of it, for messages.

    Raises:
        ValueError: it holds no optimiser or no position in the run; names what does work.
    """
    meta = content.get('meta')
    if isinstance(meta, Mapping) and {'epoch', 'iter'} <= meta.keys():
        if 'optimizer' in content:
            return
        # mmengine would go on from there with an optimiser that has seen no gradient.
        raise InputError(
            f'{source} holds weights and position of a run, but not its optimiser, as with '
            f'save_optimizer=False of CheckpointHook: {HOW_TO_START}; what is to be resumed is '
            'trained with --cfg-options default_hooks.checkpoint.save_optimizer=True'
        )
    naming = find_naming(unwrapped(weights_in(dict(content), source)))
    kind = 'weights' if naming is None else f'weights of {naming.project}'
    raise InputError(
        f'{source} holds {kind}, and no optimiser and position of a run to resume: {HOW_TO_START}'
    )

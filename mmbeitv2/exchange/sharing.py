"""A folder that others load, and its way to the Hugging Face hub."""

import json
from pathlib import Path

from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.checkpoints.hub import HUB_SCHEME
from mmbeitv2.checkpoints.naming import with_prefix
from mmbeitv2.checkpoints.translation import Checkpoint, tokenizer_prefix
from mmbeitv2.errors import ExistingFileError, InputError, MissingFileError
from mmbeitv2.exchange.architecture import tokenizer_architecture, vit_architecture
from mmbeitv2.exchange.conversion import Conversion, convert
from mmbeitv2.exchange.loading_lines import TIMM_LOCAL_SCHEME
from mmbeitv2.exchange.timm_files import write_timm_config
from mmbeitv2.exchange.writing import CARD, CONFIG, FOLDERS, WEIGHTS, card_path

# Of transformers and timm, for their users; of this project, for all kinds of models.
LAYOUTS = (*FOLDERS, 'timm', 'mmbeitv2')
MOST_SHOWN = 200


def save_pretrained(
    source: str | Path,
    folder: str | Path,
    layout: str = 'transformers',
    num_heads: int | None = None,
    overwrite: bool = False,
    repository: str = '',
    licence: str = '',
) -> Conversion:
    """Write a checkpoint as a folder: weights without code, configuration and card.

    Args:
        source: see :func:`mmbeitv2.checkpoints.sources.local_file`.
        folder: to write; ``local_file`` and so every loader here takes it.
        layout: one of ``LAYOUTS``.
        num_heads: heads, where the source does not note them; width / 64 unless given.
        overwrite: replace files of that name.
        repository: ``OWNER/NAME`` of the hub, from which the card says to load it; from ``folder``
            where empty.
        licence: see :func:`mmbeitv2.exchange.conversion.convert`.

    Returns:
        What was written, and how it compares with the source.

    Raises:
        FileNotFoundError: no source.
        FileExistsError: the folder has such files already.
        ValueError: another layout, or one that has no such model.
    """
    folder = Path(folder)
    if layout not in LAYOUTS:
        raise InputError(f'layout is {layout!r}, allowed: {", ".join(LAYOUTS)}')
    if layout in FOLDERS:
        return convert(
            source, folder, layout, num_heads, overwrite, address=repository, licence=licence
        )
    for name in (CARD, CONFIG):
        if (folder / name).exists() and not overwrite:
            raise ExistingFileError(
                f'{folder / name} is there already: choose another folder or --overwrite'
            )
    project, scheme = ('timm', TIMM_LOCAL_SCHEME) if layout == 'timm' else ('safetensors', '')
    address = f'{HUB_SCHEME}{repository}' if repository else f'{scheme}{folder}'
    written = convert(
        *(source, folder / WEIGHTS, project, num_heads, overwrite),
        address=address,
        licence=licence,
    )
    # A repository's card has one name.
    card_path(folder / WEIGHTS, project).replace(folder / CARD)
    if layout == 'timm':
        write_timm_config(folder, written)
        return written
    config = dict(library_name='mmbeitv2', **_architecture(written.source, num_heads))
    text = json.dumps(config, indent=2, default=list) + '\n'
    write_atomically(folder / CONFIG, text.encode())
    return written


def push_to_hub(folder: str | Path, repository: str, private: bool = False) -> str:
    """Upload a folder that :func:`save_pretrained` wrote, by the hub's own client and login.

    Args:
        folder: with weights, configuration and card.
        repository: ``OWNER/NAME``; made if it is not there.
        private: make it so that its owner alone sees it.

    Returns:
        Address of the repository.

    Raises:
        FileNotFoundError: no such folder, no network, or no right to write there.
        ValueError: no name of a repository.
    """
    from huggingface_hub import HfApi, constants
    from huggingface_hub.errors import HFValidationError

    folder = Path(folder)
    for name in (WEIGHTS, CONFIG, CARD):
        if not (folder / name).is_file():
            raise MissingFileError(
                f'{folder} has no {name}: write the folder with save_pretrained, or '
                '`mmbeitv2 push-to-hub`'
            )
    api = HfApi(endpoint=constants.ENDPOINT)
    try:
        url = api.create_repo(repository, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message='Weights, configuration and card'
        )
    except HFValidationError as error:
        raise InputError(
            f'{repository!r} is no repository, allowed: OWNER/NAME ({_one_line(error)})'
        ) from error
    # Whatever the client's library for HTTP raises: its versions use two.
    except Exception as error:
        raise MissingFileError(
            f'{folder} could not be uploaded to {repository} of {constants.ENDPOINT} '
            f'({_one_line(error)}): check the network, and log in with `hf auth login` to an '
            'account that may write there'
        ) from error
    return str(url)


def _architecture(checkpoint: Checkpoint, num_heads: int | None) -> dict[str, object]:
    """Kind and sizes, for readers: loading takes them from the tensors."""
    if checkpoint.kind == 'tokenizer':
        state = with_prefix(checkpoint.state, tokenizer_prefix(checkpoint))
        return dict(kind='tokenizer', **tokenizer_architecture(state, num_heads))
    backbone = vit_architecture(with_prefix(checkpoint.state, 'backbone.'), num_heads)
    return dict(kind=checkpoint.kind, backbone=backbone)


def _one_line(error: Exception) -> str:
    return ' '.join(str(error).split())[:MOST_SHOWN] or type(error).__name__

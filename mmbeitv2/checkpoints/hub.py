"""Weights in a repository of the Hugging Face hub: ``hf-hub:OWNER/NAME``, ``@REVISION`` after it.

All of its protocol, mirrors (``HF_ENDPOINT``), tokens and cache are the hub's own client's.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mmbeitv2.errors import InputError, MissingFileError, UserError

HUB_SCHEME = 'hf-hub:'
# Ours, timm's and transformers' weights, the first that there is.
WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')
SHARD_INDEX = '.index.json'
MOST_SECONDS_TO_ANSWER = 10
MOST_SHOWN = 200
LORA = 'adapter_config.json'
PART = r'[\w-][\w.-]*'
PATTERN = re.compile(rf'{HUB_SCHEME}({PART}/{PART})(?:@([\w./-]+))?')


class HubSource(NamedTuple):
    """A repository and one of its revisions, None for the newest."""

    repository: str
    revision: str | None


def parse_hub_source(source: str) -> HubSource:
    """Repository and revision of ``hf-hub:OWNER/NAME[@REVISION]``.

    Raises:
        ValueError: the text is none.
    """
    found = PATTERN.fullmatch(source)
    if not found:
        raise InputError(
            f'{source!r} is no repository of the hub, allowed: {HUB_SCHEME}OWNER/NAME or '
            f'{HUB_SCHEME}OWNER/NAME@REVISION'
        )
    return HubSource(found[1], found[2])


def weights_from_hub(source: str) -> Path:
    """The weight file of a repository, downloaded once into the hub's own cache.

    Args:
        source: see :func:`parse_hub_source`.

    Raises:
        FileNotFoundError: no such repository, revision or network, or no weights in it.
        ValueError: no such source, or weights of a kind that is not read.
    """
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    wanted = parse_hub_source(source)
    silence = why_silent()
    if silence is not None:
        kept = kept_from_hub(source)
        if kept is None:
            raise _unreachable(source, silence)
        return kept
    with _one_line(source, wanted):
        for name in WEIGHT_FILES:
            try:
                return Path(
                    hf_hub_download(
                        wanted.repository,
                        name,
                        revision=wanted.revision,
                        endpoint=constants.ENDPOINT,
                    )
                )
            except LocalEntryNotFoundError:
                raise
            except EntryNotFoundError:
                continue
        raise _without_weights(source, wanted)


def kept_from_hub(source: str) -> Path | None:
    """The weight file of a repository in the hub's cache, None where it is not there."""
    from huggingface_hub import try_to_load_from_cache

    wanted = parse_hub_source(source)
    for name in WEIGHT_FILES:
        path = try_to_load_from_cache(wanted.repository, name, revision=wanted.revision)
        if isinstance(path, str):
            return Path(path)
    return None


def _without_weights(source: str, wanted: HubSource) -> InputError | MissingFileError:
    from huggingface_hub import HfApi, constants

    api = HfApi(endpoint=constants.ENDPOINT)
    files = api.list_repo_files(wanted.repository, revision=wanted.revision)
    if LORA in files:
        return InputError(
            f'{source} holds a LoRA adapter ({LORA}), changes to a model and no model: merge it '
            'into its base model (merge_and_unload() of peft) and save that'
        )
    if any(f'{name}{SHARD_INDEX}' in files for name in WEIGHT_FILES):
        return InputError(
            f'{source} holds its weights in several files, allowed is one, '
            f'{" or ".join(WEIGHT_FILES)}: save them again with a larger max_shard_size'
        )
    held = ', '.join(files[:5]) or 'nothing'
    return MissingFileError(
        f'{source} has no weights ({" or ".join(WEIGHT_FILES)}); it holds {held}'
    )


@contextmanager
def _one_line(source: str, wanted: HubSource) -> Iterator[None]:
    """What the hub's client raises, as errors of one line."""
    from huggingface_hub import constants, errors

    try:
        yield
    except errors.RevisionNotFoundError as error:
        raise MissingFileError(
            f'{source}: {wanted.repository} has no revision {wanted.revision!r}: correct the '
            'branch, tag or commit after @, or leave it out'
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise MissingFileError(
            f'{source}: {constants.ENDPOINT} has no repository {wanted.repository}, or it is '
            'private: correct the name, or log in with `hf auth login`'
        ) from error
    except errors.HFValidationError as error:
        raise InputError(f'{source}: {_first_line(error)}') from error
    # Whatever the client's library for HTTP raises: its versions use two.
    except Exception as error:
        if isinstance(error, UserError):
            raise
        raise _unreachable(source, error) from error


def why_silent() -> Exception | None:
    """Why the hub does not answer; None if it does.

    Asked once: its client tries for half a minute where there is no network.
    """
    from huggingface_hub import constants, get_session

    try:
        get_session().head(constants.ENDPOINT, timeout=MOST_SECONDS_TO_ANSWER)
    # Of the two libraries for HTTP that its versions use, and OfflineModeIsEnabled.
    except Exception as error:
        return error
    return None


def _unreachable(source: str, error: Exception) -> MissingFileError:
    from huggingface_hub import constants

    return MissingFileError(
        f'{source} could not be downloaded from {constants.ENDPOINT} and is not in '
        f'{constants.HF_HUB_CACHE} ({_first_line(error)}): check the network, name a mirror with '
        'HF_ENDPOINT, or give the path of a folder that holds its files'
    )


def _first_line(error: Exception) -> str:
    cause = error.__cause__ or error
    return ' '.join(str(cause).split())[:MOST_SHOWN] or type(cause).__name__

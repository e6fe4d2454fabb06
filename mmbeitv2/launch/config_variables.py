"""Evaluation of config files such that what derives from a variable follows it.

A config that sets a variable which the files it inherits have used (``num_codes = 32`` over a
template's 1024) changes, to mmengine, that name alone. Here those files are read again with the
heir's value. What the heir sets by itself stays as it is, and so does what it sees of ``_base_``.
"""

import itertools
import tempfile
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmbeitv2.errors import InputError, UserError
from mmbeitv2.launch.config_copies import (
    Settings,
    is_plain,
    json_values,
    read_names,
    statement,
    write_copy,
)
from mmbeitv2.launch.config_files import ConfigFile
from mmbeitv2.launch.config_keys import KNOWN_KEYS, standing_places

# Heirs of heirs that compute one variable from another settle in as many rounds as they are deep.
MOST_ROUNDS = 20

Values = dict[ConfigFile, dict[str, Any]]


def evaluate(root: ConfigFile, options: Mapping[str, Any]) -> Config:
    """Read a config and those it inherits, variables reaching what derives from them.

    Args:
        root: the config.
        options: values of variables, by dotted key, that hold in every file.

    Returns:
        Config: as ``Config.fromfile`` gives it, before other options.

    Raises:
        InputError: a file's statements fail; or a variable of an heir has parts and does not reach
            those of the same value that its base made.
    """
    behind = {key.split('.')[0]: statement(key, value) for key, value in options.items()}
    common = {file: Settings(dict(behind)) for file in root.files()}
    first, own = _run(root, common)
    cfg = first
    views = own
    followed: dict[tuple[ConfigFile, str], Any] = {}
    for _ in range(MOST_ROUNDS):
        found = dict(_rebound(root, own, views, set(behind)))
        if found == followed:
            break
        followed = found
        settings = {file: Settings(dict(behind)) for file in root.files()}
        for (heir, name), value in followed.items():
            _let_bases_follow(settings, heir, name, value, views)
        try:
            cfg, own = _run(root, settings)
        except UserError as error:
            said = ', '.join(f'{name}={value!r}' for (_, name), value in followed.items())
            raise InputError(
                f'what {root.path} inherits cannot be read with its own {said}: {error}. Where '
                'such a name is to mean something else, call it otherwise'
            ) from error
    else:
        raise InputError(f'{root.path}: the variables that its bases follow do not settle')
    _check_parts(root, cfg, own, views)
    changed = sorted(key for key in KNOWN_KEYS if cfg.get(key) != first.get(key))
    if changed:
        said = ', '.join(f'{name}={value!r}' for (_, name), value in followed.items())
        print_log(f'{root.path}: {", ".join(changed)} follow {said}', logger='current')
    return cfg


def _run(root: ConfigFile, settings: Mapping[ConfigFile, Settings]) -> tuple[Config, Values]:
    with tempfile.TemporaryDirectory() as folder:
        copy, keys = write_copy(root, Path(folder), settings, itertools.count())
        try:
            cfg = Config.fromfile(copy)
        except (Exception, SystemExit) as error:
            raise InputError(_fault(root, folder, error)) from error
    if copy == root.path:
        return cfg, {}
    values = cfg.to_dict()
    own = {file: values.pop(key) for file, key in keys.items()}
    own |= {file: json_values(file.source) for file in root.files() if file.tree is None}
    text = '\n'.join(f'{file.path}\n{file.source}' for file in reversed(list(root.files())))
    # What is reported and saved names the user's file, not its short-lived copy.
    cfg = Config(values, cfg_text=text, filename=str(root.path), env_variables=cfg.env_variables)
    return cfg, own


def _fault(root: ConfigFile, folder: str, error: Exception | SystemExit) -> str:
    """The error of a config's statement, with file and line as the user knows them."""
    reason = ' '.join(str(error).split())
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        names = {file.path.name: file.path for file in root.files()}
        path = names.get(Path(frame.filename).name)
        if path is not None and frame.filename.startswith(folder):
            return f'{path}:{frame.lineno}: {type(error).__name__}: {reason}'
    return f'the config {root.path} cannot be read: {type(error).__name__}: {reason}'


def _bases(file: ConfigFile) -> list[ConfigFile]:
    return [base for base in file.bases if isinstance(base, ConfigFile)]


def _view(file: ConfigFile, name: str, values: Values) -> tuple[ConfigFile, Any] | None:
    """The file that an heir has a variable from, and its value there."""
    if name in values.get(file, {}):
        return file, values[file][name]
    return next((seen for b in _bases(file) if (seen := _view(b, name, values))), None)


def _inherited(heir: ConfigFile, name: str, values: Values) -> tuple[ConfigFile, Any] | None:
    return next((seen for b in _bases(heir) if (seen := _view(b, name, values))), None)


def _used_below(heir: ConfigFile, name: str) -> bool:
    return any(name in read_names(file) for base in _bases(heir) for file in base.files())


def _rebound(
    file: ConfigFile, own: Values, views: Values, settled: set[str]
) -> Iterator[tuple[tuple[ConfigFile, str], Any]]:
    """Yield each heir's variable whose value its bases are to follow, an heir before its bases."""
    here = set()
    for name in sorted(own.get(file, {})):
        value, seen = own[file][name], _inherited(file, name, views)
        if name in settled or seen is None or not _used_below(file, name):
            continue
        if name in KNOWN_KEYS and (value is None or not (is_plain(value) and is_plain(seen[1]))):
            continue  # a part of the run, merged with its base's
        if is_plain(value) != is_plain(seen[1]) and None not in (value, seen[1]):
            raise InputError(
                f'{file.path} sets {name}={value!r}, but what it inherits from {seen[0].path} '
                f'uses a {name} of another kind, {seen[1]!r}: call it otherwise'
            )
        if is_plain(value) and is_plain(seen[1]) and value != seen[1]:
            here.add(name)
            yield (file, name), value
    for base in _bases(file):
        yield from _rebound(base, own, views, settled | here)


def _let_bases_follow(
    settings: dict[ConfigFile, Settings], heir: ConfigFile, name: str, value: Any, views: Values
) -> None:
    for base in _bases(heir):
        for file in base.files():
            settings[file].behind[name] = statement(name, value)
        seen = _view(base, name, views)
        if seen is not None:
            settings[base].at_end[name] = seen[1]


def _check_parts(root: ConfigFile, cfg: Config, own: Values, views: Values) -> None:
    """Refuse a variable whose base's value stands where the heir's is meant.

    That of a variable with parts cannot be set again behind its statement, since later ones change
    its parts; and a file that mmengine dumped does not say what derives from what.
    """
    for heir, name in [(file, name) for file in root.files() for name in own.get(file, {})]:
        seen, value = _inherited(heir, name, views), own.get(heir, {}).get(name)
        if seen is None or name in KNOWN_KEYS or seen[1] == value:
            continue
        if is_plain(value) and _used_below(heir, name):
            continue  # followed
        set_above = [own[file] for file in root.files() if heir in file.files() and file in own]
        for place in standing_places(cfg, name, seen[1]):
            if not any(_sets(values, place.split('.')) for values in set_above):
                raise InputError(
                    f'{heir.path} sets {name}, but {place} keeps the value that {seen[0].path} has '
                    f'put there: set {place} too'
                )


def _sets(values: Any, path: list[str]) -> bool:
    """Whether a file's own values have an entry at a key, or a list or nothing above it."""
    for part in path:
        if not isinstance(values, dict):
            return True
        if part not in values:
            return bool(values.get('_delete_'))
        values = values[part]
    return True

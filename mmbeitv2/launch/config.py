"""Reading configs: this package's own by name, and overrides that reach where they should."""

import ast
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

import mmbeitv2
from mmbeitv2.errors import MissingFileError

SCOPE_PREFIX = 'mmbeitv2::'
TOKENIZER_VARIABLE = 'tokenizer_checkpoint'
TOKENIZER_KEY = 'model.target_generator.init_cfg.checkpoint'


def find_config(name: str) -> Path:
    """Return the path of one of this package's configs.

    An installed wheel has them in ``mmbeitv2/.mim/configs``, a checkout (also one installed with
    ``pip install -e``) in the folder ``configs`` beside the package.

    Args:
        name: path below ``configs``, for instance ``'beitv2_vit-b16_300e.py'``; the prefix
            ``'mmbeitv2::'`` may stand before it.

    Raises:
        FileNotFoundError: if there is no such config; the message lists those of its folder.
    """
    package = Path(mmbeitv2.__file__).resolve().parent
    root = package / '.mim' / 'configs'
    if not root.is_dir():
        root = package.parent / 'configs'
    relative = name.removeprefix(SCOPE_PREFIX)
    path = root / relative
    if not path.is_file():
        folder = path.parent if path.parent.is_dir() else root
        known = sorted(str(p.relative_to(root)) for p in folder.glob('*.py'))
        raise MissingFileError(
            f'mmbeitv2 has no config {relative!r}; near it in {root} there are: '
            f'{", ".join(known) or "none"}'
        )
    return path


def load_config(filename: str | Path, options: Mapping[str, Any] | None = None) -> Config:
    """Read a config file, as ``Config.fromfile`` does, and apply command-line overrides.

    Two things are added. ``_base_`` may name this package's configs, as in
    ``_base_ = 'mmbeitv2::beitv2_vit-b16_300e.py'``; mmengine itself knows this notation only for a
    fixed list of OpenMMLab's packages. And the variable ``tokenizer_checkpoint`` is the path that
    the target generator loads, also when it was changed by an inheriting config or by ``options``.

    Args:
        filename: config file (``.py``, ``.json``, ``.yaml``), or ``'mmbeitv2::NAME.py'``.
        options: values by dotted key, as ``--cfg-options`` gives them.

    Raises:
        FileNotFoundError: if the file, or a config of this package it inherits, does not exist.
    """
    filename = str(filename)
    path = find_config(filename) if filename.startswith(SCOPE_PREFIX) else Path(filename)
    if not path.is_file():
        raise MissingFileError(
            f'no config file {filename!r} (looked in {Path.cwd()}); give the path of a file, or '
            f"'{SCOPE_PREFIX}NAME.py' for a config of this package"
        )
    with tempfile.TemporaryDirectory() as folder:
        localized = _localize(path.resolve(), Path(folder))
        cfg = Config.fromfile(localized)
    if localized != path.resolve():
        # What is reported and saved names the user's file, not its short-lived copy.
        cfg = Config(
            cfg.to_dict(), cfg_text=cfg.text, filename=str(path), env_variables=cfg.env_variables
        )
    options = dict(options or {})
    cfg.merge_from_dict(options)
    _bind_tokenizer_checkpoint(cfg, options)
    return cfg


def _localize(path: Path, folder: Path) -> Path:
    """Return ``path``, or a copy of it in ``folder`` whose bases are paths instead of names.

    Copies rather than the ``::`` notation itself also keep mmengine from setting ``_scope_`` in
    each inherited dictionary, in which mmpretrain's and mmsegmentation's types would not be found.
    """
    if path.suffix != '.py':
        return path
    source = path.read_text(encoding='utf-8')
    assignment = next(
        (
            node
            for node in ast.parse(source, filename=str(path)).body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and node.targets[0].id == '_base_'
        ),
        None,
    )
    if assignment is None:
        return path
    try:
        value = ast.literal_eval(assignment.value)
    except ValueError:
        # An expression: mmengine evaluates it, and it can name paths only.
        return path
    bases = [value] if isinstance(value, str) else list(value)
    resolved = [_localize_base(base, path, folder) for base in bases]
    if all(new == base for new, base in zip(resolved, bases)):
        return path
    absolute = [base if '::' in base else str(path.parent / base) for base in resolved]
    lines = source.splitlines()
    lines[assignment.lineno - 1 : assignment.end_lineno] = [f'_base_ = {absolute!r}']
    # A folder each: the copies keep their names, which configs can read as {{ fileBasename }}.
    copy = Path(tempfile.mkdtemp(dir=folder), path.name)
    copy.write_text('\n'.join(lines) + '\n', encoding='utf-8')
    return copy


def _localize_base(base: str, path: Path, folder: Path) -> str:
    if base.startswith(SCOPE_PREFIX):
        return str(_localize(find_config(base), folder))
    if '::' in base:
        return base
    original = path.parent / base
    if not original.is_file():
        return base
    localized = _localize(original, folder)
    return base if localized == original else str(localized)


def _bind_tokenizer_checkpoint(cfg: Config, options: Mapping[str, Any]) -> None:
    """Make the variable and the target generator's checkpoint one value.

    Config files substitute the variable while they are read, so a value set afterwards would
    otherwise change the variable alone. A direct override of the nested key is obeyed.
    """
    nested = cfg.get('model', {}).get('target_generator', {}).get('init_cfg')
    if TOKENIZER_VARIABLE not in cfg or nested is None:
        return
    if TOKENIZER_KEY in options:
        cfg[TOKENIZER_VARIABLE] = nested.checkpoint
    elif nested.checkpoint != cfg[TOKENIZER_VARIABLE]:
        print_log(
            f'{TOKENIZER_KEY}: {cfg[TOKENIZER_VARIABLE]} (from the variable {TOKENIZER_VARIABLE})',
            logger='current',
        )
        nested.checkpoint = cfg[TOKENIZER_VARIABLE]

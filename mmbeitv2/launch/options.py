"""The command line's ``--cfg-options``."""

import argparse
from collections.abc import Sequence
from typing import Any

from mmengine.config import DictAction


class ConfigOptions(DictAction):
    """``KEY=VALUE ...`` as mmengine parses it; a faulty pair is argparse's error, of one line."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        """Add the pairs to the namespace's dictionary."""
        pairs = [values] if isinstance(values, str) else values or []
        for pair in pairs:
            key, equals, _ = pair.partition('=')
            if not equals or not key.strip():
                parser.error(
                    f'{option_string} {pair!r}: write KEY=VALUE, as in train_cfg.max_epochs=9'
                )
            if any(pair.count(a) != pair.count(b) for a, b in ('()', '[]')):
                parser.error(f'{option_string} {pair!r}: a bracket is open')
            try:
                super().__call__(parser, namespace, [pair], option_string)
            except ValueError as error:
                parser.error(f'{option_string} {pair!r}: {error}')
            self._keep_spaces(namespace, pair)

    def _keep_spaces(self, namespace: argparse.Namespace, pair: str) -> None:
        """mmengine takes the spaces out of a text, also out of a folder's name."""
        key, _, text = pair.partition('=')
        options = getattr(namespace, self.dest)
        if isinstance(options[key], str) and ' ' in text:
            options[key] = text.strip('\'"')

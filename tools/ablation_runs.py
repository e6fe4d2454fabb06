"""One run of the demo's ablations: tokenizer, first weights, pretraining, figures.

Everything of a seed is paired: the order of photos and masks, the tokenizer, and the first weights
of backbone and head, which the seed alone would not give (a model without a neck draws others).
"""

import datetime
import functools
import hashlib
import json
import time
from argparse import ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import torch
from ablation_figures import figures_of
from ablation_record import Run
from demo_claims import BASE, VARIANTS
from demo_runs import DemoJob, last_checkpoint, run_together, training_job
from mmengine.config import DictAction
from torch import Tensor, nn

from mmbeitv2.engine import choose_precision
from mmbeitv2.errors import MissingFileError
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.processor import processor_name
from mmbeitv2.registry import MODELS

# What no claim changes. The neck is left out: its first weights depend on the layer it stands at.
SHARED = ('backbone.', 'head.lm_head.')
CODE = ('mmbeitv2/', 'tools/', 'configs/')


@dataclass(frozen=True)
class Place:
    """Where runs are made: their folder, the photos, and options that all of them get."""

    work_dir: Path
    data: Path = Path('data/demo')
    options: tuple[str, ...] = ()

    def digest(self, *configs: str) -> str:
        """Short hash of configs, options and photos: what is equal can be compared."""
        made = self.data / 'demo_data.json'
        if not made.is_file():
            raise MissingFileError(
                f'no demo photos in {self.data} ({made.name} is missing): run `bash '
                'tools/quickstart.sh data` first.'
            )
        content = dict(
            configs=[_content(name) for name in configs],
            options=self.options,
            photos=json.loads(made.read_text())['parameters'],
        )
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def variant_digest(self, variant: str) -> str:
        """Of a variant's pretraining and tokenizer."""
        return self.digest(*VARIANTS[variant])

    def tokenizer_folder(self, variant: str, seed: int) -> Path:
        """A config that has changed gets another folder, so that no run is mixed of both."""
        config = VARIANTS[variant].tokenizer
        return self.work_dir / f'{config}-{self.digest(config)}' / f'seed{seed}'

    def folder(self, variant: str, seed: int) -> Path:
        """As :meth:`tokenizer_folder`, of the pretraining."""
        return self.work_dir / f'{variant}-{self.variant_digest(variant)}' / f'seed{seed}'


def path_of(config: str) -> str:
    """Path of a config of the demo."""
    return f'configs/demo/{config}.py'


@functools.cache
def _content(config: str) -> str:
    """A config with all that it inherits."""
    return json.dumps(load_config(path_of(config)).to_dict(), sort_keys=True, default=str)


def make_run(variant: str, seed: int, place: Place) -> Run:
    """Do what is not done yet of a run, and measure it."""
    folder = place.folder(variant, seed)
    whole, start = not folder.exists(), time.monotonic()
    run_together([tokenizer_job(variant, seed, place)])
    job = pretraining_job(variant, seed, place)
    if not job.is_finished():
        write_first_weights(variant, seed, place)
    run_together([job])
    figures = figures_of(folder, last_checkpoint(folder), place.data)
    minutes = round((time.monotonic() - start) / 60, 2) if whole else None
    return Run(
        variant=variant,
        seed=seed,
        figures=figures,
        digest=place.variant_digest(variant),
        date=datetime.date.today().isoformat(),
        precision=str(choose_precision().dtype).removeprefix('torch.'),
        minutes=minutes,
        **_origin(folder),
    )


def tokenizer_job(variant: str, seed: int, place: Place) -> DemoJob:
    """The training of a variant's tokenizer: one for each seed, or its luck would not count."""
    config = path_of(VARIANTS[variant].tokenizer)
    folder = place.tokenizer_folder(variant, seed)
    return training_job(config, folder, seed, *place.options, processes=2)


def pretraining_job(variant: str, seed: int, place: Place) -> DemoJob:
    """The pretraining of a variant from the first weights of its seed."""
    config, folder = path_of(VARIANTS[variant].config), place.folder(variant, seed)
    first = f'load_from={first_weights_path(variant, seed, place)}'
    return training_job(config, folder, seed, *place.options, _codes(variant, seed, place), first)


def first_weights_path(variant: str, seed: int, place: Place) -> Path:
    """File that a pretraining starts from."""
    return place.folder(variant, seed) / 'first_weights.pth'


def write_first_weights(variant: str, seed: int, place: Place) -> None:
    """Write the file that a pretraining starts from."""
    path = first_weights_path(variant, seed, place)
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=first_weights(variant, seed, place)), path)


def first_weights(variant: str, seed: int, place: Place) -> dict[str, Tensor]:
    """Weights of a variant as its seed gives them; those in ``SHARED`` are the base model's."""
    weights = _initialised(variant, seed, place).state_dict()
    if variant == BASE:
        return weights
    shared = _initialised(BASE, seed, place).state_dict()
    return weights | {name: shared[name] for name in weights if name.startswith(SHARED)}


def _initialised(variant: str, seed: int, place: Place) -> nn.Module:
    options = [*place.options, _codes(variant, seed, place)]
    torch.manual_seed(seed)
    model = MODELS.build(load_config(path_of(VARIANTS[variant].config), _parsed(options)).model)
    model.init_weights()
    return model


def _parsed(options: Sequence[str]) -> dict:
    """Options as ``--cfg-options`` reads them."""
    parser = ArgumentParser()
    parser.add_argument('--cfg-options', nargs='*', action=DictAction)
    return parser.parse_args(['--cfg-options', *options]).cfg_options


def _codes(variant: str, seed: int, place: Place) -> str:
    return f'tokenizer_checkpoint={last_checkpoint(place.tokenizer_folder(variant, seed))}'


def _origin(folder: Path) -> dict:
    """Commits, changed code, machine and torch of all starts of a pretraining."""
    starts = [json.loads(path.read_text()) for path in sorted(folder.glob('*/run.json'))]
    checkouts = [start['mmbeitv2'] for start in starts]
    changed = {line[3:] for checkout in checkouts for line in checkout.get('changed', [])}
    device = starts[-1]['devices'][0]
    return dict(
        commits=list(dict.fromkeys(c['commit'] for c in checkouts if 'commit' in c)),
        changed=sorted(name for name in changed if name.startswith(CODE)),
        machine=processor_name() if device == 'cpu' else device,
        torch=starts[-1]['packages']['torch'],
    )

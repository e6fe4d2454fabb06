"""Report of a run on one's own photos: what the features are worth, the training, the codes.

    python tools/own_report.py RUN

reads what ``mmbeitv2 pretrain`` has left in RUN and writes ``RUN/report.html`` (self-contained) and
``RUN/report/`` with the pictures, ``summary.txt`` and ``results.json``.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
from quickstart_report import facts

from mmbeitv2.apis import load_tokenizer
from mmbeitv2.datasets.listing import listed_lines, photo_path
from mmbeitv2.errors import MissingFileError
from mmbeitv2.evaluation.learning_record import read_learning
from mmbeitv2.launch.config import load_config
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.reports.few_shot import CLS, COLOURS, RANDOM_CLS, TEACHER, mean_interval
from mmbeitv2.reports.html import Section, render_report
from mmbeitv2.reports.learning_page import OWN_STYLE
from mmbeitv2.reports.own_advice import beside_others, in_short, what_to_change
from mmbeitv2.reports.own_progress import ASKED, STAGES, TITLES, looks_of, stage_states, title_of
from mmbeitv2.reports.summary import Measurement, in_words, text_table
from mmbeitv2.visualization import codes, curves, runs, style
from mmbeitv2.visualization.code_maps import code_maps
from mmbeitv2.visualization.few_shot import FewShotPanel, few_shot_curves

# As tools/few_shot.py names it.
QUESTION = 'other photos'
HELD_OUT = 'held-out photos'
COMPARED = {
    'from [CLS]': (CLS, RANDOM_CLS),
    'from the mean of patches': ('pretrained, mean of patches', 'random weights, mean of patches'),
}
MASKED = (
    ('Masked codes, last layer', 'masked_codes/acc_mim'),
    ('Masked codes, from [CLS]', 'masked_codes/acc_cls'),
)
GUESSES = (
    ('', 'masked_codes/acc_majority', 'guess: the most frequent code'),
    (
        ', beside copying',
        'masked_codes/acc_neighbour',
        'guess: the true code of the nearest visible patch, which the model does not see',
    ),
)
CODED_PHOTOS = 400


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('run', type=Path, metavar='RUN', help='of mmbeitv2 pretrain')
    return parser.parse_args(argv)


def answers_of(run: Path) -> dict[str, Any] | None:
    """What the labels said; None without labels."""
    path = run / 'few_shot' / 'answers.json'
    return json.loads(path.read_text())[QUESTION] if path.is_file() else None


def measurements(run: Path, answers: dict[str, Any] | None) -> Iterator[Measurement]:
    """Rows of the summary.

    Args:
        run: folder.
        answers: of :func:`answers_of`.
    """
    if answers is not None:
        yield from _labelled(answers)
    records = runs.read_scalars(run / 'pretraining')
    for name, key in MASKED:
        value = runs.last_value(records, key)
        for addition, guess, note in GUESSES:
            yield Measurement(
                name + addition,
                HELD_OUT,
                {} if value is None else {'run': value},
                baseline=runs.last_value(records, guess),
                note=note,
                over_guess=True,
            )
    if not (run / 'tokenizer').is_dir():
        # It was given.
        return
    records = runs.read_scalars(run / 'tokenizer')
    for name, key, percent in (
        ('Tokenizer, codes in use', 'tokenizer/codebook_usage', True),
        ('Tokenizer, perplexity of the codes', 'tokenizer/codebook_perplexity', False),
        ('Tokenizer, reconstruction loss (1 − cosine)', 'tokenizer/reconstruction', False),
    ):
        value = runs.last_value(records, key)
        values = {} if value is None else {'run': value}
        yield Measurement(name, HELD_OUT, values, percent=percent)


def _labelled(answers: dict[str, Any]) -> Iterator[Measurement]:
    draws = answers['features']
    for name, (ours, random) in COMPARED.items():
        for shots in draws[ours]:
            both = [np.array(draws[features][shots]) for features in (ours, random)]
            # A tokenizer that was given comes without its teacher.
            others = {'mean colours, 4 × 4': draws[COLOURS]}
            others |= {'the teacher': draws[TEACHER]} if TEACHER in draws else {}
            yield Measurement(
                f'{shots} label{"s" * (shots != "1")} a class, {name}',
                'labelled photos, features fixed',
                {'run': float(both[0].mean())},
                {'run': float(both[1].mean())},
                baseline=1 / answers['classes'],
                note='; '.join(f'{k} {100 * np.mean(v[shots]):.1f} %' for k, v in others.items()),
                # The same labelled photos for both, hence the interval of the difference.
                interval=mean_interval(both[0] - both[1]),
            )


def findings_of(
    run: Path, rows: Sequence[Measurement], answers: dict[str, Any] | None
) -> Iterator[str]:
    """The result in a sentence, then what else is to be said of it, one by one."""
    records = runs.read_scalars(run / 'pretraining')
    right, guess, copying = (
        runs.last_value(records, f'masked_codes/acc_{name}')
        for name in ('mim', 'majority', 'neighbour')
    )
    if answers is None:
        yield 'No labels were given to judge by.'
    else:
        yield in_short(answers)
        yield in_words(rows)
        yield beside_others(answers)
        yield what_to_change(rows, answers, right, copying)
    if right is not None and guess is not None:
        yield (
            f'Of the hidden patches of held-out photos {100 * right:.1f} % get their right code, '
            f'where always guessing the most frequent one gets {100 * guess:.1f} %.'
        )
    for stage in ('tokenizer', 'pretraining'):
        looks = read_learning(run / stage)
        if looks:
            said = looks[-1]['verdict']
            text = f'{stage.capitalize()}: {said["word"]}, {said["reason"]}. {said["advice"]}'
            yield text.rstrip()


def sections(run: Path, out: Path, answers: dict[str, Any] | None) -> Iterator[Section]:
    """Draw the pictures.

    Args:
        run: folder.
        out: folder of the PNGs.
        answers: of :func:`answers_of`.
    """
    if answers is not None:
        chance = 1 / answers['classes']
        panel = FewShotPanel('Labelled photos, features fixed', answers['features'], chance)
        yield Section(
            'What a few labels are worth',
            'Ridge regression on frozen features, asked about all photos that are not labelled. '
            'Blue and green should lie above orange (the same network with random weights) and the '
            'solid grey line (4 × 4 mean colours); the dashed one is the teacher, the dotted one '
            'what its codes know, which pretraining is asked for. Bands are 95 % intervals over 40 '
            'draws of the labelled photos.',
            few_shot_curves([panel], out / 'few_shot.png'),
        )
    tokenizer = load_tokenizer(str(run / 'pretraining'))
    config = json.loads((run / 'plan.json').read_text())
    asked = json.loads((run / ASKED).read_text())
    names = [name for _, name in listed_lines(run / 'held_out.txt')]
    folder = load_config(run / 'pretraining.py').val_dataloader.dataset.data_root
    photos = [photo_path(folder, name) for name in style.evenly_spaced(names, CODED_PHOTOS)]
    coded = codes.encode_images(tokenizer, style.read_images(photos, asked['value_range']))
    codes.code_mosaic(coded, out / 'code_mosaic.png')
    yield Section(
        'Patches with the same code',
        'Each row is one code, each picture a patch (outlined) of another held-out photo. Rows '
        'should show one thing, not one colour. Over all codes and patches, a code explains '
        f'{codes.explained_looks(coded):.0%} of the variance of a patch’s pixels.',
        out / 'code_mosaic.png',
    )
    yield Section(
        'Where the codes lie',
        'Held-out photos, and their patches coloured by code, similar colours for similar codes.',
        code_maps(coded, out / 'code_maps.png', count=min(10, len(photos))),
    )
    if (run / 'tokenizer').is_dir():
        yield Section(
            'The tokenizer learns',
            'Reconstruction of the teacher’s features should fall, on held-out photos too; nearly '
            'all codes should come into use, evenly (a high perplexity).',
            curves.tokenizer_curves(
                runs.read_scalars(run / 'tokenizer'),
                out / 'tokenizer_curves.png',
                config['num_codes'],
            ),
        )
    yield Section(
        'Pretraining learns to guess hidden patches',
        'Both losses should fall, and the accuracy rise well above the dashed line of always '
        'guessing the most frequent code. Dots are held-out photos: where they turn away from the '
        'line of the training photos, these are learned by heart.',
        curves.pretraining_curves(
            {'run': runs.read_scalars(run / 'pretraining')}, out / 'pretraining_curves.png'
        ),
    )


def times(run: Path) -> str:
    """Planned against spent minutes."""
    parts = []
    for stage in stage_states(run, STAGES[-1]):
        if stage.spent:
            planned = '' if stage.planned is None else f' (planned {stage.planned:.1f})'
            parts.append(f'{TITLES[stage.name]} {stage.spent:.1f}{planned}')
    return 'minutes: ' + ', '.join(parts)


def facts_of(run: Path) -> dict[str, str]:
    """How it was made, and where what is in the page."""
    asked = json.loads((run / ASKED).read_text())
    found, photos = facts(run), asked['photos']
    del found['seeds'], found['all figures per seed']
    return found | {
        'photos': photos if isinstance(photos, str) else ', '.join(photos),
        'seed': str(asked['seed']),
        'time': times(run),
        'plan': 'plan.json, tokenizer.py and pretraining.py beside this page',
        'for other projects': 'export/: timm.safetensors, transformers/',
        'all figures': 'report/results.json',
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    with one_line_errors():
        if not (args.run / 'plan.json').is_file():
            raise MissingFileError(f'{args.run} is no run of mmbeitv2 pretrain: no plan.json in it')
        out = args.run / 'report'
        out.mkdir(exist_ok=True)
        answers = answers_of(args.run)
        rows = list(measurements(args.run, answers))
        verdict, *findings = filter(None, findings_of(args.run, rows, answers))
        page = render_report(
            title_of(args.run),
            verdict,
            'A tokenizer has learned codes for the patches of these photos from a teacher, and a '
            'vision Transformer to guess the codes of hidden patches. No label was learned from.',
            rows,
            list(sections(args.run, out, answers)),
            facts_of(args.run),
            looks_of(args.run, list(stage_states(args.run, STAGES[-1]))),
            OWN_STYLE,
            findings,
        )
        said = '\n'.join([verdict, *findings])
        (out / 'summary.txt').write_text(f'{said}\n\n{text_table(rows)}\n', encoding='utf-8')
        (out / 'results.json').write_text(json.dumps([row.as_json() for row in rows], indent=1))
        (args.run / 'report.html').write_text(page, encoding='utf-8')


if __name__ == '__main__':
    main()

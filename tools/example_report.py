"""Report of the example on Fashion-MNIST: the curve over labels, the training, the codes.

    python tools/example_report.py work_dirs/example_fashion_mnist

reads what the stages have left there and writes ``report/``: ``report.html`` (self-contained),
``summary.txt``, ``results.json`` and the PNGs.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
from example_options import LICENCE, ORIGIN
from fashion_mnist import MANIFEST
from quickstart_report import facts

from mmbeitv2.apis import load_tokenizer
from mmbeitv2.errors import MissingFileError
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.reports.few_shot import CLS, COLOURS, RANDOM_CLS, TEACHER, mean_interval
from mmbeitv2.reports.html import Section, render_report
from mmbeitv2.reports.quickstart import MASKED, codebook_size
from mmbeitv2.reports.summary import Measurement, in_words
from mmbeitv2.visualization import codes, curves, runs, style
from mmbeitv2.visualization.code_maps import code_maps
from mmbeitv2.visualization.few_shot import FewShotPanel, few_shot_curves

# As tools/few_shot.py names it.
QUESTION = 'other photos'
COMPARED = {
    'from [CLS]': (CLS, RANDOM_CLS),
    'from the mean of patches': ('pretrained, mean of patches', 'random weights, mean of patches'),
}
IN_TABLE = ('1', '5', '20', '50')
CODED_PHOTOS = 500
# The figures' seed, as the stages name its folder.
SEED = 'seed0'

# Accuracy of each draw, 0 to 1, by features and number of labelled photos.
Draws = Mapping[str, Mapping[str, Sequence[float]]]


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('work_dir', type=Path, help='of tools/example_fashion_mnist.sh')
    return parser.parse_args(argv)


def read_json(work_dir: Path, name: str) -> dict:
    """Content of a file that a stage has written.

    Args:
        work_dir: of the example.
        name: of the file in it.

    Raises:
        MissingFileError: the stage has not run.
    """
    path = work_dir / name
    if not path.is_file():
        raise MissingFileError(
            f'no {path}: run `bash tools/example_fashion_mnist.sh {work_dir}` first.'
        )
    return json.loads(path.read_text())


def few_shot_measurements(draws: Draws, classes: int, data: str) -> Iterator[Measurement]:
    """Rows of the summary: numbers of labels, pretrained against random weights.

    Args:
        draws: of all features.
        classes: number of them.
        data: name of the photos.
    """
    for name, (ours, random) in COMPARED.items():
        for shots in IN_TABLE:
            both = [np.array(draws[features][shots]) for features in (ours, random)]
            others = {'mean greys, 4 × 4': draws[COLOURS], 'the teacher': draws[TEACHER]}
            yield Measurement(
                f'{shots} label{"s" * (shots != "1")} a class, {name}',
                data,
                {SEED: float(both[0].mean())},
                {SEED: float(both[1].mean())},
                baseline=1 / classes,
                note='; '.join(f'{k} {100 * np.mean(v[shots]):.1f} %' for k, v in others.items()),
                # The same labelled photos for both, hence the interval of the difference.
                interval=mean_interval(both[0] - both[1]),
            )


def training_measurements(work_dir: Path, data: str) -> Iterator[Measurement]:
    """Rows of the tests after tokenizer and pretraining.

    Args:
        work_dir: of the example.
        data: name of the photos.
    """
    pretraining = runs.read_test_metrics(work_dir / SEED / 'pretrain')
    for name, key in MASKED:
        yield Measurement(
            name,
            data,
            {SEED: pretraining[key]},
            baseline=pretraining['masked_codes/acc_majority'],
            note='guess: the most frequent code',
        )
    tokenizer = runs.read_test_metrics(work_dir / 'vqkd')
    yield Measurement(
        'Tokenizer, codes in use',
        data,
        {'vqkd': tokenizer['tokenizer/codebook_usage']},
        note=f'of {codebook_size(work_dir)}',
    )
    yield Measurement(
        'Tokenizer, reconstruction loss',
        data,
        {'vqkd': tokenizer['tokenizer/reconstruction']},
        percent=False,
        note='1 − cosine, less is better',
    )


def sections(work_dir: Path, out: Path, draws: Draws, classes: int) -> Iterator[Section]:
    """Draw the pictures.

    Args:
        work_dir: of the example.
        out: folder of the PNGs.
        draws: of all features.
        classes: number of them.
    """
    panel = FewShotPanel('Test photos, features fixed', draws, 1 / classes)
    yield Section(
        'What a few labels are worth',
        'Ridge regression on frozen features, from 1 to 50 labelled test photos a class, asked '
        'about all other test photos. Blue and green should lie above orange (the same network '
        'with random weights) and the solid grey line (4 × 4 mean greys); the dashed one is the '
        'teacher, which has seen a million labelled photos, the dotted one what its codes know. '
        'Bands are 95 % intervals over 40 draws of the labelled photos.',
        few_shot_curves([panel], out / 'few_shot.png'),
    )
    yield from code_sections(work_dir, out)
    yield Section(
        'The tokenizer learns',
        'Reconstruction of the teacher’s features should fall, on held-out photos too; nearly all '
        'codes should come into use, evenly (a high perplexity).',
        curves.tokenizer_curves(
            runs.read_scalars(work_dir / 'vqkd'),
            out / 'tokenizer_curves.png',
            codebook_size(work_dir),
        ),
    )
    yield Section(
        'Pretraining learns to guess hidden patches',
        'Both losses should fall, and the accuracy rise well above the dashed line of always '
        'guessing the most frequent code. Dots are held-out photos.',
        curves.pretraining_curves(
            {SEED: runs.read_scalars(work_dir / SEED / 'pretrain')}, out / 'pretraining_curves.png'
        ),
    )


def code_sections(work_dir: Path, out: Path) -> Iterator[Section]:
    """Draw test photos and their codes."""
    checkpoint = runs.newest_checkpoint(work_dir / 'vqkd')
    photos = sorted((work_dir / 'photos/test').glob('*/*.png'))
    shown = style.read_images(style.evenly_spaced(photos, CODED_PHOTOS))
    coded = codes.encode_images(load_tokenizer(str(checkpoint)), shown)
    mosaic = out / 'code_mosaic.png'
    codes.code_mosaic(coded, mosaic)
    yield Section(
        'Patches with the same code',
        'Each row is one code, each picture a patch (outlined) of another test photo: the patches '
        'nearest to their code, of codes that look alike. Over all codes and patches, a code '
        f'explains {codes.explained_looks(coded):.0%} of the variance of a patch’s pixels.',
        mosaic,
    )
    yield Section(
        'Where the codes lie',
        'Test photos, and their patches coloured by code, similar colours for similar codes.',
        code_maps(coded, out / 'code_maps.png', count=10),
    )


def curve_table(draws: Draws) -> str:
    """Accuracies in per cent with their intervals, a row for each features."""
    rows = [['labelled photos a class', *next(iter(draws.values()))]]
    for name, by_shots in draws.items():
        values = [100 * np.array(accuracies) for accuracies in by_shots.values()]
        cells = [f'{v.mean():.1f} ± {1.96 * v.std(ddof=1) / len(v) ** 0.5:.1f}' for v in values]
        rows.append([name, *cells])
    widths = [max(map(len, column)) for column in zip(*rows)]
    return '\n'.join(
        '  '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:]))])
        for row in rows
    )


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    work_dir = parse_args(argv).work_dir
    found = read_json(work_dir, f'{SEED}/few_shot/test.json')[QUESTION]
    counts = read_json(work_dir, f'photos/{MANIFEST}')['parameters']
    draws, classes = found['features'], found['classes']
    out = work_dir / 'report'
    out.mkdir(exist_ok=True)
    data = f'{counts["test"]:,} test photos of {classes} classes'
    measurements = [
        *few_shot_measurements(draws, classes, data),
        *training_measurements(work_dir, data),
    ]
    made = {
        'data': f'Fashion-MNIST, {LICENCE}, {ORIGIN}; {counts["train"]:,} training photos without '
        'their labels, in the order of the files as many of each class',
        **facts(work_dir),
    }
    verdict = in_words(measurements)
    page = render_report(
        'BEiT v2 on Fashion-MNIST',
        verdict,
        'A visual tokenizer and a small vision Transformer pretrained on its codes, without '
        'labels, on photos that are not this project’s; then a few labels on frozen features, '
        'beside random weights and the teacher.',
        measurements,
        list(sections(work_dir, out, draws, classes)),
        made,
    )
    results = dict(made_with=made, figures=[m.as_json() for m in measurements], curve=found)
    (out / 'results.json').write_text(
        json.dumps(results, indent=2, ensure_ascii=False) + '\n', encoding='utf-8'
    )
    (out / 'report.html').write_text(page, encoding='utf-8')
    summary = (
        f'Fashion-MNIST, {data}\n{curve_table(draws)}\n\n{verdict}\nreport: {out / "report.html"}\n'
    )
    (out / 'summary.txt').write_text(summary, encoding='utf-8')
    print(summary)


if __name__ == '__main__':
    with one_line_errors():
        main()

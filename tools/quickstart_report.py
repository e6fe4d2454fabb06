"""Report of a quick start: figures beside their baselines, curves and pictures on one page.

    python tools/quickstart_report.py --work-dir work_dirs/quickstart

reads what the stages have left there, whether all of them ran or not, and writes ``report.html``
(self-contained), ``results.json`` and the PNGs. A stage without results is marked 'not run'.
"""

import argparse
import datetime
import json
import os
import platform
import warnings
from collections.abc import Iterator
from pathlib import Path

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from quickstart_codes import (
    annotations,
    code_figures,
    masks_like,
    object_share,
    segmentation_photos,
)

from mmbeitv2.apis import load_pretrained, load_tokenizer
from mmbeitv2.checkpoints.host_reading import refuse_code_in_checkpoints
from mmbeitv2.engine import choose_precision
from mmbeitv2.errors import MissingFileError
from mmbeitv2.launch.processor import processor_name
from mmbeitv2.launch.user_errors import one_line_errors
from mmbeitv2.reports import few_shot, labels
from mmbeitv2.reports.html import Section, render_report
from mmbeitv2.reports.quickstart import (
    CLASS_FOLDERS,
    COMPARED,
    KNOWN,
    codebook_size,
    measure,
    seed_folders,
)
from mmbeitv2.reports.summary import Measurement, grouped, in_words, text_table
from mmbeitv2.version import __version__
from mmbeitv2.visualization import codes, curves, masking, runs, segmentation, style
from mmbeitv2.visualization.code_maps import code_maps
from mmbeitv2.visualization.few_shot import few_shot_curves

SEGMENTATION_PHOTOS = 8
MASKED_PHOTOS = 5


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/quickstart'))
    parser.add_argument('--data-root', type=Path, default=Path('data/demo'))
    return parser.parse_args(argv)


def draw_few_shot(work_dir: Path) -> Section:
    """Section of classification with a few labels."""
    results = {
        data: few_shot.read(seed_folders(work_dir), Path(folder).name)
        for data, folder in CLASS_FOLDERS.items()
    }
    panels = few_shot.panels(results)
    return Section(
        'A few labels go further',
        'A linear classifier on frozen features, from 1 to 20 labelled photos a class. Left, the '
        'photos asked about show the labelled cut-outs in other places; right, other cut-outs of '
        'the same classes, which takes knowing what, say, birds have in common. Blue and green '
        'should lie above orange (the same network with random weights) and grey (colours alone). '
        'The teacher (dashed) has seen a million labelled photos; dotted is what its codes know. '
        'Bands are 95 % intervals over 40 draws of the labelled photos.',
        few_shot_curves(panels, work_dir / 'few_shot.png') if panels else None,
    )


def draw_curves(work_dir: Path, measurements: list[Measurement]) -> Iterator[Section]:
    """Sections of the loss and accuracy curves."""
    scalars = runs.read_scalars(work_dir / 'vqkd')
    yield Section(
        'The tokenizer learns',
        'Reconstruction of the teacher’s features should fall, on held-out photos too; nearly all '
        'codes should come into use, evenly (a high perplexity).',
        curves.tokenizer_curves(scalars, work_dir / 'tokenizer_curves.png', codebook_size(work_dir))
        if scalars
        else None,
    )
    seeds = {s.name: runs.read_scalars(s / 'pretrain') for s in seed_folders(work_dir)}
    seeds = {name: records for name, records in seeds.items() if records}
    yield Section(
        'Pretraining learns to guess hidden patches',
        'Both losses should fall, and the accuracy rise well above the dashed line of always '
        'guessing the most frequent code. Dots are held-out photos.',
        curves.pretraining_curves(seeds, work_dir / 'pretraining_curves.png') if seeds else None,
    )
    guesses = {m.name: m.baseline for m in measurements if m.data == KNOWN}
    tasks = []
    for name, stage, key, factor in COMPARED[1:]:
        both = [
            [r for s in seed_folders(work_dir) if (r := runs.read_scalars(s / f'{stage}_{start}'))]
            for start in ('pretrained', 'random')
        ]
        if any(both):
            title = name.split(',')[0]
            metric = f'{name} (%), held-out'
            guess = 100 * guesses[name]
            tasks.append(curves.Comparison(title, 'loss', key, metric, 100 * factor, *both, guess))
    yield Section(
        'Pretrained against random initialisation',
        'The same network and the same training, started from the pretrained weights (blue) and '
        'from random ones (orange): blue should fall faster and end higher.',
        curves.comparison_curves(tasks, work_dir / 'comparison_curves.png') if tasks else None,
    )


def draw_codes(work_dir: Path, data_root: Path) -> Iterator[Section]:
    """Sections of the mosaic and the code maps."""
    checkpoint = runs.newest_checkpoint(work_dir / 'vqkd')
    mosaic = maps = None
    look = 'Each row is one code, each picture a patch (outlined) of another held-out photo.'
    if checkpoint is not None:
        tokenizer = load_tokenizer(str(checkpoint))
        photos = segmentation_photos(data_root, KNOWN)
        coded = codes.encode_images(tokenizer, style.read_images(photos))
        mosaic, maps = work_dir / 'code_mosaic.png', work_dir / 'code_maps.png'
        codes.code_mosaic(coded, mosaic, interest=object_share(photos, coded.codes.shape[1:]))
        code_maps(coded, maps)
        look += (
            ' Patches in a row should look alike and differ from those of other rows. Shown are '
            'the patches nearest to their code, of codes that often fall on objects and look '
            f'alike; over all codes and patches, a code explains {codes.explained_looks(coded):.0%}'
            ' of the variance of a patch’s pixels.'
        )
    yield Section('Patches with the same code look alike', look, mosaic)
    yield Section(
        'Where the codes lie',
        'Held-out photos, and their patches coloured by code, similar colours for similar codes: '
        'objects stand out against their background.',
        maps,
    )


def draw_masking(work_dir: Path, data_root: Path) -> Section:
    """Section of predicted against true codes, from the first seed."""
    picture = None
    stages = [s / 'pretrain' for s in seed_folders(work_dir)]
    stages = [stage for stage in stages if runs.newest_checkpoint(stage)]
    if stages:
        model = load_pretrained(str(runs.newest_checkpoint(stages[0])))
        photos = sorted((data_root / CLASS_FOLDERS[KNOWN]).glob('*/*.jpg'))
        shown = style.evenly_spaced(photos, MASKED_PHOTOS)
        others = style.read_images([p for p in photos if p not in shown])
        references = codes.encode_images(model.target_generator, others)
        masks = masks_like(runs.config_file(stages[0]), len(shown))
        picture = work_dir / 'masked_codes.png'
        masking.mask_predictions(model, style.read_images(shown), masks, references, picture)
    return Section(
        'Behind the mask',
        'Grey cells were hidden from the model. Compare “true” with “predicted”, as colours and '
        'painted with a typical patch of each code from other photos: even where the code is not '
        'exactly right, the painting should continue what is visible.',
        picture,
    )


def draw_segmentation(work_dir: Path, data_root: Path) -> Section:
    """Section of segmentation overlays, from the first seed."""
    photos = style.evenly_spaced(segmentation_photos(data_root, KNOWN), SEGMENTATION_PHOTOS)
    columns, names, picture = {'truth': annotations(photos)}, [], None
    for start in ('pretrained', 'random'):
        stages = [s / f'segment_{start}' for s in seed_folders(work_dir)]
        stages = [stage for stage in stages if runs.newest_checkpoint(stage)]
        if stages:
            columns[f'{start} init' if start == 'random' else start], names = segment(
                stages[0], photos
            )
    if names:
        picture = work_dir / 'segmentation.png'
        segmentation.segmentation_overlays(style.read_images(photos), columns, names, picture)
    return Section(
        'Segmentation',
        'UperNet on the pretrained backbone, beside the same training from random weights: '
        'compare shapes and colours with the truth. Background is grey.',
        picture,
    )


def segment(stage: Path, photos: list[Path]) -> tuple[list[np.ndarray], list[str]]:
    """Predicted labels of photos, and the names of the classes."""
    # Here, after what keeps the console quiet: torch 2.4 warns where mmengine's runner is imported.
    from mmengine.runner import load_checkpoint
    from mmseg.apis import inference_model, init_model

    config = Config.fromfile(runs.config_file(stage))
    config.test_pipeline = config.test_dataloader.dataset.pipeline
    refuse_code_in_checkpoints()
    with warnings.catch_warnings():
        # Of the loss, which a picture does not need.
        warnings.filterwarnings('ignore', 'Default ``avg_non_ignore`` is False', UserWarning)
        model = init_model(config, device='cpu')
    # With a checkpoint init_model prints where it comes from, whatever the logger.
    logger = MMLogger.get_current_instance()
    checkpoint = load_checkpoint(model, str(runs.newest_checkpoint(stage)), 'cpu', logger=logger)
    results = inference_model(model, [str(photo) for photo in photos])
    labels = [r.pred_sem_seg.data[0].numpy().astype(np.uint8) for r in results]
    return labels, list(checkpoint['meta']['dataset_meta']['classes'])


def facts(work_dir: Path) -> dict[str, str]:
    """Date, machine, versions and seeds."""
    import mmcv
    import mmengine
    import mmpretrain
    import mmseg

    versions = {
        'mmbeitv2': __version__,
        'Python': platform.python_version(),
        'torch': torch.__version__,
        'mmengine': mmengine.__version__,
        'mmcv': mmcv.__version__,
        'mmpretrain': mmpretrain.__version__,
        'mmsegmentation': mmseg.__version__,
    }
    return {
        'date': datetime.datetime.now().astimezone().strftime('%Y-%m-%d %H:%M %Z'),
        'machine': f'{platform.system()}, {processor_name()}, {os.cpu_count()} CPU cores, '
        + (torch.cuda.get_device_name() if torch.cuda.is_available() else 'no GPU'),
        'versions': ', '.join(f'{name} {version}' for name, version in versions.items()),
        'seeds': ', '.join(s.name[4:] for s in seed_folders(work_dir)) or 'none yet',
        'all figures per seed': 'results.json beside this page',
    }


def trained_precisions(work_dir: Path) -> list[str]:
    """Of the stages, by the commands that started them: one, unless a folder was used for two."""
    starts = [json.loads(path.read_text()) for path in work_dir.rglob('run.json')]
    asked = {option_of(start['command'], '--precision') for start in starts}
    dtypes = {choose_precision(name or 'auto').dtype for name in asked}
    return sorted(str(dtype).removeprefix('torch.') for dtype in dtypes)


def option_of(command: list[str], name: str) -> str | None:
    """What follows an option in a command, None without it."""
    return command[command.index(name) + 1] if name in command else None


def main(argv: list[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    # What is loaded from where would bury the table.
    MMLogger.get_instance('report').setLevel('WARNING')
    work_dir, data_root = args.work_dir, args.data_root
    if not work_dir.is_dir():
        raise MissingFileError(
            f'no folder {work_dir}: run `bash tools/quickstart.sh` first, or give its place with '
            '--work-dir'
        )
    try:
        measurements = grouped([*measure(work_dir, data_root), *code_figures(work_dir, data_root)])
    except FileNotFoundError as error:
        raise MissingFileError(str(error)) from error
    sections = [
        draw_few_shot(work_dir),
        labels.section(work_dir, data_root),
        *draw_codes(work_dir, data_root),
        draw_masking(work_dir, data_root),
        draw_segmentation(work_dir, data_root),
        *draw_curves(work_dir, measurements),
    ]
    made = {**facts(work_dir), 'precision': ' and '.join(trained_precisions(work_dir))}
    results = dict(made_with=made, figures=[m.as_json() for m in measurements])
    (work_dir / 'results.json').write_text(
        json.dumps(results, indent=2, ensure_ascii=False) + '\n', encoding='utf-8'
    )
    page = render_report(
        'BEiT v2 quick start',
        in_words(measurements),
        'A visual tokenizer, a small vision Transformer pretrained on its codes, and what that is '
        'worth for classification and segmentation: trained and measured on photos of cut-out '
        'objects. All pictures and figures are of held-out photos.',
        measurements,
        sections,
        made,
    )
    (work_dir / 'report.html').write_text(page, encoding='utf-8')
    print(text_table(measurements))
    print(f'report: {work_dir / "report.html"}')


if __name__ == '__main__':
    with one_line_errors():
        main()

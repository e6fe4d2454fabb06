"""Ablate the demo: aggregation, masks and teacher, each over several seeds, in about an hour.

    bash tools/quickstart.sh data
    python tools/demo_ablations.py

Pretrains the demo's model as it is and with one thing changed, probes every backbone with the same
linear probe, and prints the table of docs/experiments.md; ``ablations.json`` in the work directory
has the figures of every seed. A finished run is not run again, an interrupted one is resumed.
"""

import argparse
import json
import os
from pathlib import Path

from demo_runs import (
    ROOT,
    Job,
    end_cleanly,
    evaluation_job,
    last_checkpoint,
    run_together,
    training_job,
)

import mmbeitv2.launch.console  # noqa: F401  first: what the hosts print is left out
from mmbeitv2.reports.quickstart import KNOWN, UNSEEN, metrics_of
from mmbeitv2.reports.summary import Measurement

# What is changed, the config of the pretraining and that of its tokenizer.
VARIANTS = {
    'none': ('beitv2_demo', 'vqkd_demo'),
    'no aggregation': ('beitv2_demo_no-aggregation', 'vqkd_demo'),
    'random masks': ('beitv2_demo_random-mask', 'vqkd_demo'),
    'low-level teacher': ('beitv2_demo_low-level', 'vqkd_demo_low-level'),
}
FIGURES = {
    'probe of [CLS]': ('probe', 'probe/top1_cls'),
    'probe of the mean': ('probe', 'probe/top1_avg'),
    'masked codes': ('pretrain', 'masked_codes/acc_mim'),
    'most frequent code': ('pretrain', 'masked_codes/acc_majority'),
}


def main() -> None:
    """Run all variants and print the table."""
    args = parse_args()
    os.chdir(ROOT)
    for config in dict.fromkeys(tokenizer for _, tokenizer in VARIANTS.values()):
        run_together([training_job(f'configs/demo/{config}.py', args.work_dir / config, 0)])
    for seed in range(args.seeds):
        for variant in VARIANTS:
            run_together([pretraining(variant, seed, args.work_dir)])
        probes = [probe(variant, seed, args.work_dir) for variant in VARIANTS]
        for pair in (probes[:2], probes[2:]):
            run_together(pair)
    rows = [row for data in (KNOWN, UNSEEN) for row in measure(args.work_dir, args.seeds, data)]
    result = args.work_dir / 'ablations.json'
    result.write_text(json.dumps([m.as_json() for m in rows], indent=2, ensure_ascii=False) + '\n')
    print(table(rows))


def parse_args() -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/ablations'))
    parser.add_argument('--seeds', type=int, default=3, help='number of seeds, 2 or more')
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error(f'--seeds is {args.seeds}, but a spread takes 2 or more')
    if not Path(ROOT, 'data/demo').is_dir():
        parser.error('no demo data in data/demo: run `bash tools/quickstart.sh data` first')
    return args


def stage_folder(variant: str, seed: int, work_dir: Path) -> Path:
    """Folder of a variant's runs with one seed."""
    return work_dir / VARIANTS[variant][0] / f'seed{seed}'


def pretraining(variant: str, seed: int, work_dir: Path) -> Job:
    """The pretraining of a variant on the codes of its tokenizer."""
    config, tokenizer = VARIANTS[variant]
    codes = f'tokenizer_checkpoint={last_checkpoint(work_dir / tokenizer)}'
    folder = stage_folder(variant, seed, work_dir) / 'pretrain'
    return training_job(f'configs/demo/{config}.py', folder, seed, codes)


def probe(variant: str, seed: int, work_dir: Path) -> Job:
    """The linear probe of a variant's backbone."""
    folder = stage_folder(variant, seed, work_dir)
    start = f'model.backbone.init_cfg.checkpoint={last_checkpoint(folder / "pretrain")}'
    return evaluation_job('linear_probe', folder / 'probe', seed, start)


def measure(work_dir: Path, seeds: int, data: str) -> list[Measurement]:
    """Every figure of every variant on one validation set."""
    return [
        Measurement(
            figure,
            data,
            {
                f'seed{seed}': metrics_of(stage_folder(variant, seed, work_dir) / stage, data)[key]
                for seed in range(seeds)
            },
            note=variant,
        )
        for variant in VARIANTS
        for figure, (stage, key) in FIGURES.items()
    ]


def table(rows: list[Measurement]) -> str:
    """Markdown: one block of columns for each validation set, one line for each variant."""
    lines = []
    for data in (KNOWN, UNSEEN):
        lines += [f'| {data}; changed: | ' + ' | '.join(FIGURES) + ' |', '| --- ' * 5 + '|']
        for variant in VARIANTS:
            cells = [m.row()[1] for m in rows if m.data == data and m.note == variant]
            lines.append(f'| {variant} | ' + ' | '.join(cells) + ' |')
        lines.append('')
    return '\n'.join(lines)


if __name__ == '__main__':
    end_cleanly(main)

"""Train a demo model with tools/train.py on demo photos: the loss falls, and a killed run goes on.

    python tools/benchmark/training.py pretraining --work work_dirs/gpu
    python tools/benchmark/training.py segmentation --work work_dirs/gpu --kill

With ``--kill`` the run is killed half way, without warning, and resumed: it must go on after the
iteration of its newest checkpoint. Nothing is downloaded: the teacher of VQ-KD is a small network
with random weights, and so is the tokenizer of pretraining.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import timm
import torch
from paired import machine, write

ROOT = Path(__file__).resolve().parents[2]
# Iterations between two checkpoints, and of an epoch.
EVERY = 10
# Pictures of the demo data; batches of 32 make an epoch of ten iterations.
PICTURES = ('--train', '320', '--seg-train', '160', '--val', '16')
EPOCHS = (
    'train_cfg.max_epochs={epochs}',
    'train_cfg.val_interval={epochs}',
    'param_scheduler.1.end={epochs}',
    'train_dataloader.batch_size=32',
)
ITERATIONS = (
    'train_cfg.max_iters={steps}',
    'train_cfg.val_interval={steps}',
    f'param_scheduler.0.end={EVERY}',
    f'param_scheduler.1.begin={EVERY}',
    'param_scheduler.1.end={steps}',
    f'default_hooks.checkpoint.interval={EVERY}',
)
RUNS = {
    'vqkd': (
        'configs/demo/vqkd_demo.py',
        *EPOCHS,
        'model.teacher.model=test_efficientnet',
        'model.teacher.checkpoint={work}/teacher.pth',
    ),
    'pretraining': (
        'configs/demo/beitv2_demo.py',
        *EPOCHS,
        'model.target_generator.init_cfg=None',
        'model.target_generator.quantizer.kmeans_init=False',
    ),
    'finetuning': ('configs/demo/finetune_demo.py', *EPOCHS, 'model.backbone.init_cfg=None'),
    'segmentation': (
        'configs/demo/upernet_demo.py',
        *ITERATIONS,
        'model.backbone.init_cfg=None',
    ),
}
LOGGED = re.compile(r'(?:Epoch|Iter)\(train\)\s*(?:\[(\d+)\])?\[\s*(\d+)/')


def precision_options(precision: str) -> list[str]:
    """Options of tools/train.py for a precision."""
    return ['--amp'] if precision == 'bfloat16' else []


def command(kind: str, work: Path, precision: str, steps: int) -> list[str]:
    """A run every iteration of which is logged."""
    config, *options = RUNS[kind]
    values = dict(work=work, steps=steps, epochs=steps // EVERY)
    settings = (option.format(**values) for option in options)
    places = []
    for loader in ('train', 'val', 'test'):
        root = work / 'demo' / ('ade' if kind == 'segmentation' else 'imagenet')
        places.append(f'{loader}_dataloader.dataset.data_root={root}/')
    return [
        *(sys.executable, 'tools/train.py', config, '--work-dir', str(work / kind)),
        *precision_options(precision),
        *('--cfg-options', *settings, *places, 'default_hooks.logger.interval=1'),
    ]


def prepare(kind: str, work: Path) -> None:
    """Demo photos, if they are not there, and for VQ-KD a teacher; no trace of earlier runs."""
    shutil.rmtree(work / kind, ignore_errors=True)
    make = [sys.executable, 'tools/make_demo_data.py', '--out', str(work / 'demo'), *PICTURES]
    subprocess.run(make, cwd=ROOT, check=True)
    if kind == 'vqkd':
        torch.manual_seed(0)
        torch.save(timm.create_model('test_efficientnet').state_dict(), work / 'teacher.pth')


def train(run: Sequence[str], environment: dict[str, str], kill_at: int | None = None) -> list[int]:
    """Run a training to its end, or kill it once an iteration is logged.

    Returns:
        The iterations that it has logged, counted over epochs.

    Raises:
        SystemExit: it failed.
    """
    print(' '.join(run), flush=True)
    process = subprocess.Popen(
        run,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    iterations = []
    for line in process.stdout:
        print(line, end='', flush=True)
        if logged := LOGGED.search(line):
            epoch, step = logged.groups()
            iterations.append((int(epoch or 1) - 1) * EVERY + int(step))
            if kill_at is not None and iterations[-1] >= kill_at:
                process.kill()
                break
    process.stdout.close()
    process.wait()
    if kill_at is None and process.returncode:
        raise SystemExit(f'error: training ended with exit code {process.returncode}')
    if not iterations:
        raise SystemExit('error: training has logged no iteration')
    return iterations


def half_way(steps: int) -> int:
    """An iteration in the middle, between two checkpoints."""
    return steps // 2 // EVERY * EVERY + EVERY // 2


def losses(work_dir: Path) -> dict[int, float]:
    """Loss by iteration, each the mean of the last ten, as mmengine writes it; of all starts."""
    found = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            if 'loss' in record:
                found[record['step']] = record['loss']
    return found


def newest_checkpoint(work_dir: Path) -> int:
    """Iterations after which the newest checkpoint was written."""
    unit, number = Path((work_dir / 'last_checkpoint').read_text().strip()).stem.split('_')
    return int(number) * (EVERY if unit == 'epoch' else 1)


def check_falling(found: dict[int, float], steps: int) -> str:
    """The first loss and the last, in words.

    Raises:
        SystemExit: a loss is not finite, or the last ten are on average no lower than the first.
    """
    first, last = found[EVERY], found[steps]
    bad = [step for step, loss in found.items() if not abs(loss) < float('inf')]
    if bad:
        raise SystemExit(f'error: the loss of iteration {bad[0]} is {found[bad[0]]}')
    if not last < first:
        raise SystemExit(f'error: the loss does not fall: {first:.4g} to {last:.4g}')
    return f'loss {first:.4g} to {last:.4g}'


def check_resumed(resumed: Sequence[int], checkpoint: int, killed: int, steps: int) -> str:
    """Where a killed run went on, in words.

    Raises:
        SystemExit: at another iteration than that after its newest checkpoint, or not to the end.
    """
    if (resumed[0], resumed[-1]) != (checkpoint + 1, steps):
        raise SystemExit(
            f'error: killed after iteration {killed} with a checkpoint of {checkpoint}, it went on '
            f'from {resumed[0]} to {resumed[-1]}, not from {checkpoint + 1} to {steps}'
        )
    return f'killed after {killed}, went on at {resumed[0]}'


def main() -> None:
    """Run the tool."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('kind', choices=list(RUNS))
    parser.add_argument('--work', type=Path, required=True, help='folder for photos and runs')
    parser.add_argument('--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--precision', choices=['float32', 'bfloat16'], default='bfloat16')
    parser.add_argument('--steps', type=int, default=50, help='a multiple of ten, 20 or more')
    parser.add_argument('--kill', action='store_true', help='kill it half way and resume it')
    parser.add_argument('--json', metavar='FILE', help='write what was found to this file')
    args = parser.parse_args()
    if args.steps < 2 * EVERY or args.steps % EVERY:
        parser.error(f'--steps is {args.steps}, allowed: multiples of {EVERY} from {2 * EVERY} on')
    # An absolute path, since training runs in the repository.
    work = args.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    prepare(args.kind, work)
    environment = {**os.environ, 'PYTHONPATH': f'{ROOT}:{os.environ.get("PYTHONPATH", "")}'}
    if args.device == 'cpu':
        environment['CUDA_VISIBLE_DEVICES'] = ''
    run = command(args.kind, work, args.precision, args.steps)
    begin, said = time.monotonic(), []
    if args.kill:
        killed = train(run, environment, half_way(args.steps))[-1]
        checkpoint = newest_checkpoint(work / args.kind)
        resume = [*run[:2], run[2], '--resume', *run[3:]]
        said.append(check_resumed(train(resume, environment), checkpoint, killed, args.steps))
    else:
        train(run, environment)
    found = losses(work / args.kind)
    said.append(check_falling(found, args.steps))
    seconds = time.monotonic() - begin
    result = dict(kind=args.kind, precision=args.precision, losses=found, seconds=seconds)
    write(args.json, dict(key_figures=', '.join(said), **result, machine=machine(args.device)))
    print(', '.join(said))
    shutil.rmtree(work / args.kind)


if __name__ == '__main__':
    main()

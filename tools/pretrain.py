"""From a folder of photos to a backbone: tokenizer, pretraining, what it is worth, and a report.

    python tools/pretrain.py PHOTOS --out RUN

Looks at the photos first, chooses image size, model, codes, batches and steps for this machine,
prints the plan with its time, and asks nothing. RUN then holds two ordinary configs that the
ordinary tools take, plan.json, the runs and report.html. The same command goes on where an earlier
one has stopped. Labels are not needed; --labels says what the features are worth by them.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from own_labels import link_labelled
from own_teachers import TEACHERS, offline, teacher_config
from tqdm import tqdm

import mmbeitv2.launch.console  # noqa: F401  first: what the hosts print is left out
from mmbeitv2.checkpoints.atomic import write_atomically
from mmbeitv2.commands import environment, tools_folder
from mmbeitv2.datasets.survey import Survey, hold_out, survey
from mmbeitv2.engine import choose_precision
from mmbeitv2.errors import ExistingFileError
from mmbeitv2.launch.jobs import ToolJob, end_cleanly, run_together
from mmbeitv2.launch.loaders import cores_of_process
from mmbeitv2.launch.plan import (
    SIZES,
    Machine,
    Plan,
    Wishes,
    check_photos,
    make_plan,
    number_held_out,
    with_lengths,
)
from mmbeitv2.launch.plan_configs import (
    Data,
    own_tokenizer,
    pretraining_config,
    tokenizer_config,
)
from mmbeitv2.launch.processor import processor_name

TOOLS = tools_folder()
PLAN, ASKED = 'plan.json', 'asked.json'
STAGES = ('tokenizer', 'pretraining')
SHOTS = (1, 2, 5, 10, 20)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('photos', type=Path, help='folder with photos at any depth')
    parser.add_argument('--out', type=Path, required=True, metavar='RUN', help='folder to write')
    parser.add_argument('--hours', type=float, help='for everything (default: usual lengths)')
    parser.add_argument(
        '--teacher',
        metavar='NAME',
        help=f'{", ".join(TEACHERS)} or timm:MODEL, each also with @FILE for its weights '
        '(default: clip on a GPU, lite0 on a CPU)',
    )
    parser.add_argument('--labels', type=Path, metavar='FOLDER|CSV', help='to judge by alone')
    parser.add_argument('--size', choices=list(SIZES), help='of the model')
    parser.add_argument('--image-size', type=int, help='in pixels, a multiple of 16')
    parser.add_argument('--codes', type=int, help='of the tokenizer')
    parser.add_argument('--value-range', type=float, nargs=2, metavar=('BLACK', 'WHITE'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--plan', action='store_true', help='print the plan, and end')
    args = parser.parse_args(argv)
    if args.hours is not None and not args.hours > 0:
        parser.error(f'--hours is {args.hours}, allowed: above 0')
    return args


def asked_for(args: argparse.Namespace) -> dict[str, Any]:
    """What must be the same when a run goes on."""
    kept = {name: value for name, value in vars(args).items() if name not in ('out', 'plan')}
    return {
        name: str(value.expanduser().resolve()) if isinstance(value, Path) else value
        for name, value in kept.items()
    }


def check_out(out: Path, asked: dict[str, Any]) -> bool:
    """Whether there is a plan to go on with.

    Raises:
        ExistingFileError: the folder is of something else, or of other arguments.
    """
    noted = out / ASKED
    if noted.is_file() and not (out / PLAN).is_file():
        # It ended before anything was trained.
        return False
    if noted.is_file():
        before = json.loads(noted.read_text())
        for name, value in asked.items():
            if before.get(name) != value:
                raise ExistingFileError(
                    f'{out} is a run with {name} {before.get(name)!r}, asked for is {value!r}: '
                    'repeat its command to go on, or name another --out'
                )
        return True
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ExistingFileError(f'{out} is there and is no run of this command: name another --out')
    return False


def this_machine() -> Machine:
    """What this process can train with."""
    gpu = torch.cuda.is_available()
    return Machine(
        device='cuda' if gpu else 'cpu',
        devices=torch.cuda.device_count() if gpu else 1,
        cores=cores_of_process('none'),
        precision=str(choose_precision().dtype).removeprefix('torch.'),
        name=torch.cuda.get_device_name() if gpu else processor_name(),
    )


def settle(args: argparse.Namespace, machine: Machine) -> Plan:
    """Look at the photos, choose, time a few steps, and write everything that the run reads.

    Raises:
        UserError: photos, labels, teacher or wishes that cannot be used; nothing is trained.
    """
    bar = dict(desc='looking at the photos', unit=' photos', leave=False)
    found = survey(
        args.photos,
        machine.cores,
        args.value_range,
        lambda photos, total: tqdm(photos, total=total, **bar),
    )
    print(f'{args.photos}: {found}', flush=True)
    check_photos(found)
    teacher = teacher_config(args.teacher, machine.device)
    train, held_out = hold_out(found.photos, number_held_out(len(found.photos)), args.seed)
    wishes = Wishes(args.hours, args.size, args.image_size, args.codes)
    plan = make_plan(found, len(train), len(held_out), machine, wishes, tokenizer=True)
    if args.labels is not None:
        link_labelled(args.labels, args.out / 'labelled')
    data = write_lists(args, found, train, held_out)
    write_configs(args, plan, data, teacher)
    plan = with_lengths(plan, time_steps(args.out, plan, machine), args.hours)
    write_configs(args, plan, data, teacher)
    write_atomically(args.out / PLAN, json.dumps(plan.as_json(), indent=1).encode())
    return plan


def write_lists(
    args: argparse.Namespace, found: Survey, train: Sequence[str], held_out: Sequence[str]
) -> Data:
    """Write which photos are trained on, held out, and cannot be read."""
    unreadable = [f'{name}\t{reason}' for name, reason in found.unreadable.items()]
    for name, lines in (('train', train), ('held_out', held_out), ('unreadable', unreadable)):
        text = ''.join(f'{line}\n' for line in lines)
        (args.out / f'{name}.txt').write_text(text, encoding='utf-8')
    lists = ((args.out / f'{name}.txt').resolve() for name in ('train', 'held_out'))
    value_range = None if args.value_range is None else tuple(args.value_range)
    return Data(args.photos.expanduser().resolve(), *lists, value_range)


def write_configs(
    args: argparse.Namespace, plan: Plan, data: Data, teacher: dict[str, Any]
) -> None:
    """Write the configs of both stages."""
    tokenizer = own_tokenizer(plan, str((args.out / 'tokenizer').resolve()))
    texts = dict(
        tokenizer=tokenizer_config(plan, data, teacher, args.seed),
        pretraining=pretraining_config(plan, data, tokenizer, args.seed),
    )
    for name, text in texts.items():
        (args.out / f'{name}.py').write_text(text, encoding='utf-8')


def time_steps(out: Path, plan: Plan, machine: Machine) -> dict[str, float]:
    """Seconds of a step by stage; the teacher's weights are met here for the first time.

    Raises:
        SystemExit: the config cannot be trained, with its one line.
    """
    seconds = {}
    for name in STAGES:
        stage = getattr(plan, name)
        threads = max(1, machine.cores // stage.processes) if machine.device == 'cpu' else 0
        command = [sys.executable, '-m', 'mmbeitv2.launch.step_time', str(out / f'{name}.py')]
        print(f'timing a few steps: {name} …', flush=True)
        result = subprocess.run(
            [*command, *(('--threads', str(threads)) if threads else ())],
            stdout=subprocess.PIPE,
            env={**environment(TOOLS), **offline()},
            text=True,
        )
        if result.returncode:
            sys.exit(result.returncode)
        spent = json.loads(result.stdout)
        if machine.device == 'cpu':
            # Workers take their time from the same cores.
            cores = machine.cores / stage.processes
            seconds[name] = spent['compute'] + spent['read'] / cores
        else:
            workers = max(1, machine.cores // stage.processes - 1)
            seconds[name] = max(spent['compute'], spent['read'] / workers)
    return seconds


def describe(plan: Plan, machine: Machine) -> str:
    """The plan in words."""
    lines = [
        f'plan, for {machine.name} ({machine.cores} cores, {machine.precision}):',
        f'  photos      {plan.photos:,} to train on, {plan.held_out:,} held out',
        f'  model       {plan.size}: {plan.reasons["size"]}',
        f'  image size  {plan.image_size} pixels: {plan.reasons["image_size"]}',
        f'  codes       {plan.num_codes:,}: {plan.reasons["num_codes"]}',
    ]
    for name in STAGES:
        stage = getattr(plan, name)
        lines.append(
            f'  {name:<11} {stage.epochs:,} epochs, {stage.steps:,} steps of '
            f'{stage.batch * stage.processes} photos, about {stage.minutes:.0f} minutes '
            f'({1000 * stage.seconds_a_step:.0f} ms a step)'
        )
    return '\n'.join([*lines, f'  all         about {plan.minutes:.0f} minutes'])


def training(args: argparse.Namespace, plan: Plan, name: str) -> ToolJob:
    """The run of a stage."""
    stage, config = getattr(plan, name), str(args.out / f'{name}.py')
    folder = args.out / name
    if stage.processes > 1:
        start = ('bash', str(TOOLS / 'dist_train.sh'), config, str(stage.processes))
    else:
        start = (sys.executable, str(TOOLS / 'train.py'), config)
    after = args.out / PLAN
    return ToolJob(
        folder, stage.processes, stage.epochs, (*start, '--work-dir', str(folder)), after
    )


def judging(args: argparse.Namespace) -> ToolJob:
    """What a few labels are worth on the features."""
    folder = args.out / 'few_shot'
    command = (
        sys.executable,
        str(TOOLS / 'few_shot.py'),
        str(args.out / 'pretraining'),
        str(args.out / 'labelled'),
        *('--shots', *map(str, SHOTS)),
        *('--config', str(args.out / 'pretraining.py')),
        *('--teacher', str(args.out / 'tokenizer.py')),
        *('--json', str(folder / 'answers.json')),
    )
    return ToolJob(folder, 1, None, command, args.out / 'pretraining' / 'last_checkpoint')


def report(args: argparse.Namespace) -> ToolJob:
    """The page."""
    command = (sys.executable, str(TOOLS / 'own_report.py'), str(args.out))
    return ToolJob(args.out / 'report', 1, None, command)


def run(args: argparse.Namespace) -> None:
    """Plan, train, judge, report."""
    asked, machine = asked_for(args), this_machine()
    if check_out(args.out, asked):
        plan = Plan.from_json(json.loads((args.out / PLAN).read_text()))
        print(f'{args.out}: going on')
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out / ASKED, json.dumps(asked, indent=1).encode())
        plan = settle(args, machine)
    print(describe(plan, machine), flush=True)
    if args.plan:
        return
    env = {**environment(TOOLS), **offline()}
    jobs = [training(args, plan, name) for name in STAGES]
    if args.labels is not None:
        jobs.append(judging(args))
    for number, job in enumerate([*jobs, report(args)], 1):
        print(f'\n[{number}/{len(jobs) + 1}] {job.work_dir.name}', flush=True)
        run_together([job], env)
    print(f'\n{(args.out / "report" / "summary.txt").read_text()}')
    print(f'{args.out / "report.html"} shows it.')


def main(argv: Sequence[str] | None = None) -> None:
    """Run the tool."""
    args = parse_args(argv)
    run(args)


if __name__ == '__main__':
    end_cleanly(main)

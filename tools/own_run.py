"""What `mmbeitv2 pretrain` does: look, choose, time, write configs, then run each in its turn."""

import json
import re
import subprocess
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import torch
from own_labels import labelled_photos, link_labelled
from own_start import Sources, sources
from own_teachers import offline, teacher_config
from tqdm import tqdm

from mmbeitv2.checkpoints.atomic import free_bytes, write_atomically
from mmbeitv2.commands import environment, tools_folder
from mmbeitv2.datasets.photo_sources import load_tables
from mmbeitv2.datasets.survey import Survey, hold_out, survey
from mmbeitv2.engine import choose_precision
from mmbeitv2.errors import ExistingFileError, UnreadableFileError
from mmbeitv2.launch.jobs import ToolJob, done, run_together
from mmbeitv2.launch.loaders import cores_of_process
from mmbeitv2.launch.plan import Machine, Plan, Wishes
from mmbeitv2.launch.plan_configs import (
    Data,
    own_tokenizer,
    pretraining_config,
    tokenizer_config,
)
from mmbeitv2.launch.plan_rules import check_photos, make_plan, number_held_out, with_lengths
from mmbeitv2.launch.processor import processor_name
from mmbeitv2.reports.own_progress import ASKED, PLAN, SPENT, write_progress

TOOLS = tools_folder()
LABELLED = 'labelled'
SHOTS = (1, 2, 5, 10, 20)
SECONDS_BETWEEN_PAGES = 15
# How every teacher begins what it says of weights that it could not get.
WEIGHTS_OF_TEACHER = re.compile(r'weights .*of the .*teacher')


def asked_for(args: Namespace) -> dict[str, Any]:
    """What must be the same when a run goes on."""
    kept = {name: value for name, value in vars(args).items() if name not in ('out', 'plan')}
    return {name: _noted(value) for name, value in kept.items()}


def _noted(value: Any) -> Any:
    if isinstance(value, list):
        return [_noted(one) for one in value]
    return str(value.expanduser().resolve()) if isinstance(value, Path) else value


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


def settle(args: Namespace, machine: Machine) -> Plan:
    """Look at the photos, choose, time a few steps, and write everything that the run reads.

    Raises:
        UserError: photos, labels, teacher, weights or wishes that cannot be used, or too little
            space; nothing is trained.
    """
    bar = dict(desc='looking at the photos', unit=' photos', leave=False)
    found = survey(
        args.photos,
        machine.cores,
        args.value_range,
        lambda photos, total: tqdm(photos, total=total, **bar),
        args.image_column,
    )
    print(f'{found.shown}: {found}', flush=True)
    check_photos(found)
    labelled = None if args.labels is None else labelled_photos(args.labels, found)
    given = sources(args.tokenizer, args.start, args.out)
    teacher = None
    if given.tokenizer is None:
        teacher = teacher_config(args.teacher, machine.device)
    train, held_out = hold_out(found.photos, number_held_out(len(found.photos)), args.seed)
    wishes = Wishes(args.hours, args.size, args.image_size, args.codes)
    plan = make_plan(found, len(train), len(held_out), machine, wishes, given.given)
    if given.words:
        print(given.words, flush=True)
    if labelled is not None:
        link_labelled(labelled, args.out / LABELLED)
    data = write_lists(args, found, train, held_out)
    write_configs(args, plan, data, teacher, given)
    timed = time_steps(args.out, plan, machine)
    check_space(args.out, sum(stage['disk'] for stage in timed.values()))
    plan = with_lengths(
        plan, {n: seconds_a_step(plan, n, timed[n], machine) for n in timed}, args.hours
    )
    write_configs(args, plan, data, teacher, given)
    write_atomically(args.out / PLAN, json.dumps(plan.as_json(), indent=1).encode())
    return plan


def write_lists(
    args: Namespace, found: Survey, train: Sequence[str], held_out: Sequence[str]
) -> Data:
    """Write which photos are trained on, held out, and cannot be read."""
    unreadable = [f'{name}\t{reason}' for name, reason in found.unreadable.items()]
    for name, lines in (('train', train), ('held_out', held_out), ('unreadable', unreadable)):
        text = ''.join(f'{line}\n' for line in lines)
        write_atomically(args.out / f'{name}.txt', text.encode())
    lists = ((args.out / f'{name}.txt').resolve() for name in ('train', 'held_out'))
    value_range = None if args.value_range is None else tuple(args.value_range)
    labelled = None if args.labels is None else (args.out / LABELLED).resolve()
    folder = (args.out if found.folder is None else found.folder).resolve()
    return Data(folder, *lists, value_range, labelled, found.shown)


def write_configs(
    args: Namespace, plan: Plan, data: Data, teacher: dict[str, Any] | None, given: Sources
) -> None:
    """Write the config of every stage."""
    target = given.tokenizer
    if target is None:
        target = own_tokenizer(plan, str((args.out / 'tokenizer').resolve()))
        text = tokenizer_config(plan, data, teacher, args.seed)
        write_atomically(args.out / 'tokenizer.py', text.encode())
    text = pretraining_config(plan, data, target, args.seed, given.start)
    write_atomically(args.out / 'pretraining.py', text.encode())


def time_steps(out: Path, plan: Plan, machine: Machine) -> dict[str, dict[str, float]]:
    """What a few steps of each stage take; the teacher's weights are met here for the first time.

    Raises:
        SystemExit: the config cannot be trained, with its one line.
    """
    timed = {}
    for name, stage in plan.stages.items():
        threads = max(1, machine.cores // stage.processes) if machine.device == 'cpu' else 0
        command = [sys.executable, '-m', 'mmbeitv2.launch.step_time', str(out / f'{name}.py')]
        print(f'timing a few steps: {name} …', flush=True)
        result = subprocess.run(
            [*command, *(('--threads', str(threads)) if threads else ())],
            capture_output=True,
            env={**environment(TOOLS), **offline()},
            text=True,
        )
        if result.returncode:
            sys.stderr.write(what_failed(result.stderr))
            sys.exit(result.returncode)
        timed[name] = json.loads(result.stdout)
    return timed


def what_failed(said: str) -> str:
    """What to print of a training that did not start: its one line, or all of it if it has none."""
    lines = said.splitlines()
    if not lines or not lines[-1].startswith('error: '):
        return said
    way = ' (here: --teacher NAME@FILE)' if WEIGHTS_OF_TEACHER.search(lines[-1]) else ''
    return f'{lines[-1]}{way}\n'


def seconds_a_step(plan: Plan, name: str, timed: dict[str, float], machine: Machine) -> float:
    """Of a whole run, whose workers read while it computes."""
    processes = plan.stages[name].processes
    if machine.device == 'cpu':
        # Workers take their time from the same cores.
        return timed['compute'] + timed['read'] / (machine.cores / processes)
    return max(timed['compute'], timed['read'] / max(1, machine.cores // processes - 1))


def check_space(out: Path, needed: float) -> None:
    """Refuse a folder that has no room for the checkpoints of all stages.

    Raises:
        UnreadableFileError: says how much is needed.
    """
    free = free_bytes(out)
    if free < needed:
        raise UnreadableFileError(
            f'{out} has {free / 1e9:.1f} GB free, needed: {needed / 1e9:.1f} GB for the '
            'checkpoints. Free some, or name another --out'
        )


def describe(plan: Plan, machine: Machine) -> str:
    """The plan in words."""
    lines = [
        f'plan, for {machine.name} ({machine.cores} cores, {machine.precision}):',
        f'  photos      {plan.photos:,} to train on, {plan.held_out:,} held out',
        f'  model       {plan.size}: {plan.reasons["size"]}',
        f'  image size  {plan.image_size} pixels: {plan.reasons["image_size"]}',
        f'  codes       {plan.num_codes:,}: {plan.reasons["num_codes"]}',
    ]
    for name, stage in plan.stages.items():
        lines.append(
            f'  {name:<11} {stage.epochs:,} epochs, {stage.steps:,} steps of '
            f'{stage.batch * stage.processes} photos, about {stage.minutes:.0f} minutes '
            f'({1000 * stage.seconds_a_step:.0f} ms a step)'
        )
    return '\n'.join([*lines, f'  all         about {plan.minutes:.0f} minutes'])


def jobs_of(args: Namespace, plan: Plan) -> list[ToolJob]:
    """Everything that is run, in its order."""
    jobs = [training(args, plan, name) for name in plan.stages]
    trained = args.out / 'pretraining'
    newest = trained / 'last_checkpoint'
    if args.labels is not None:
        jobs.append(judging(args, plan, newest))
    for project, name in (('timm', 'timm.safetensors'), ('transformers', 'transformers')):
        target = args.out / 'export' / name
        command = (sys.executable, str(TOOLS / 'convert_checkpoint.py'), str(trained), str(target))
        options = ('--to', project, '--overwrite')
        folder = args.out / 'export' / f'{project}_log'
        jobs.append(ToolJob(folder, 1, None, (*command, *options), newest))
    command = (sys.executable, str(TOOLS / 'own_report.py'), str(args.out))
    return [*jobs, ToolJob(args.out / 'report', 1, None, command)]


def training(args: Namespace, plan: Plan, name: str) -> ToolJob:
    """The run of a stage."""
    stage, config = plan.stages[name], str(args.out / f'{name}.py')
    folder = args.out / name
    if stage.processes > 1:
        start = ('bash', str(TOOLS / 'dist_train.sh'), config, str(stage.processes))
    else:
        start = (sys.executable, str(TOOLS / 'train.py'), config)
    after = args.out / PLAN
    return ToolJob(
        folder, stage.processes, stage.epochs, (*start, '--work-dir', str(folder)), after
    )


def judging(args: Namespace, plan: Plan, newest: Path) -> ToolJob:
    """What a few labels are worth on the features."""
    folder = args.out / 'few_shot'
    teacher = ('--teacher', str(args.out / 'tokenizer.py')) if plan.tokenizer else ()
    command = (
        sys.executable,
        str(TOOLS / 'few_shot.py'),
        str(args.out / 'pretraining'),
        str(args.out / LABELLED),
        *('--shots', *map(str, SHOTS)),
        *('--config', str(args.out / 'pretraining.py')),
        *teacher,
        *(('--value-range', *map(str, args.value_range)) if args.value_range else ()),
        *('--json', str(folder / 'answers.json')),
    )
    return ToolJob(folder, 1, None, command, newest)


class Watch:
    """Keeps the page of a run, and how long each stage has taken, up to date.

    Args:
        run: folder.
        job: that runs.
    """

    def __init__(self, run: Path, job: ToolJob) -> None:
        self.run, self.job, self.name = run, job, job.work_dir.name
        path = run / SPENT
        self.spent = json.loads(path.read_text()) if path.is_file() else {}
        self.before = self.spent.get(self.name, 0.0)
        self.start = self.written = time.monotonic()
        write_progress(run, self.name)

    def __call__(self) -> None:
        """Called about every second."""
        if time.monotonic() - self.written > SECONDS_BETWEEN_PAGES:
            self.write()

    def write(self) -> None:
        """Take down what has been spent, and draw the page."""
        self.written = time.monotonic()
        self.spent[self.name] = self.before + self.written - self.start
        write_atomically(self.run / SPENT, json.dumps(self.spent, indent=1).encode())
        share = done(self.job, 0)[0] if (self.job.work_dir / 'log.txt').is_file() else 0.0
        write_progress(self.run, self.name, share)


def run(args: Namespace) -> None:
    """Plan, train, judge, export, report."""
    asked, machine = asked_for(args), this_machine()
    if check_out(args.out, asked):
        plan = Plan.from_json(json.loads((args.out / PLAN).read_text()))
        print(f'{args.out}: going on')
        load_tables(args.photos)
    else:
        args.out.mkdir(parents=True, exist_ok=True)
        write_atomically(args.out / ASKED, json.dumps(asked, indent=1).encode())
        plan = settle(args, machine)
    print(describe(plan, machine), flush=True)
    if args.plan:
        return
    env = {**environment(TOOLS), **offline()}
    jobs = jobs_of(args, plan)
    for number, job in enumerate(jobs, 1):
        name = job.work_dir.name
        print(f'\n[{number}/{len(jobs)}] {name}', flush=True)
        watch = Watch(args.out, job)
        run_together([job], env, watch)
        if name != 'report':
            watch.write()
    print(f'\n{(args.out / "report" / "summary.txt").read_text()}')
    print(f'{args.out / "report.html"} shows it.')

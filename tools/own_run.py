"""What `mmbeitv2 pretrain` does: settle the plan, then run each stage in its turn."""

import json
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

from own_settling import go_on, settle, this_machine
from own_teachers import offline

from mmbeitv2.checkpoints.atomic import check_writable, write_atomically
from mmbeitv2.checkpoints.sources import absolute
from mmbeitv2.checkpoints.turns import alone
from mmbeitv2.commands import environment, tools_folder
from mmbeitv2.datasets.photo_folder import FOLDERS
from mmbeitv2.datasets.photo_sources import check_apart, load_tables
from mmbeitv2.errors import ExistingFileError
from mmbeitv2.launch.jobs import ToolJob, done, run_together
from mmbeitv2.launch.plan import Machine, Plan
from mmbeitv2.reports.own_progress import (
    ASKED,
    JUDGED,
    LABELLED,
    PLAN,
    SPENT,
    STAGES,
    write_progress,
)

TOOLS = tools_folder()
# Many, where there are: few labels do not tell features apart where classes differ by little.
SHOTS = (1, 2, 5, 10, 20, 50, 100)
SECONDS_BETWEEN_PAGES = 15
LOCK = '.lock'


def asked_for(args: Namespace) -> dict[str, Any]:
    """What must be the same when a run goes on."""
    kept = {name: value for name, value in vars(args).items() if name not in ('out', 'plan')}
    noted = {name: _noted(value) for name, value in kept.items()}
    for name in ('labels', 'tokenizer', 'start'):
        if noted[name] not in (None, FOLDERS):
            noted[name] = absolute(noted[name])
    if noted['teacher'] is not None:
        teacher, at, file = noted['teacher'].partition('@')
        noted['teacher'] = f'{teacher}{at}{absolute(file)}' if file else noted['teacher']
    return noted


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


def describe(plan: Plan, machine: Machine) -> str:
    """The plan in words."""
    lines = [
        f'plan, for {machine.name} ({machine.cores} cores, {machine.precision}):',
        f'  photos      {plan.photos:,} to train on, {plan.held_out:,} held out',
        f'  model       {plan.size}: {plan.reasons["size"]}',
        f'  image size  {plan.image_size} pixels: {plan.reasons["image_size"]}',
        f'  codes       {plan.num_codes:,}: {plan.reasons["num_codes"]}',
    ]
    # Plans of earlier versions do not say.
    lines += [f'  labels      {plan.reasons["labels"]}'] if 'labels' in plan.reasons else []
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
    if (args.out / LABELLED).is_dir():
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
    folder = args.out / JUDGED
    teacher = ('--teacher', str(args.out / 'tokenizer.py')) if plan.tokenizer else ()
    command = (
        sys.executable,
        str(TOOLS / 'few_shot.py'),
        str(args.out / 'pretraining'),
        str(args.out / LABELLED),
        *('--shots', *map(str, shots_of(args.out / LABELLED))),
        *('--config', str(args.out / 'pretraining.py')),
        *teacher,
        *(('--value-range', *map(str, args.value_range)) if args.value_range else ()),
        *('--json', str(folder / 'answers.json')),
    )
    return ToolJob(folder, 1, None, command, newest)


def shots_of(labelled: Path) -> list[int]:
    """How many labels a class to ask with: one, and more while half of every class is left to ask.

    Args:
        labelled: folder of class folders.
    """
    smallest = min(sum(1 for _ in folder.iterdir()) for folder in labelled.iterdir())
    return [k for k in SHOTS if k == SHOTS[0] or 2 * k <= smallest]


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
        # The report itself puts its page in the place of this one, which must not come back.
        if self.name != STAGES[-1] and time.monotonic() - self.written > SECONDS_BETWEEN_PAGES:
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
    # Commands of stages are compared with those that have been run, wherever that was.
    args.out = args.out.expanduser().resolve()
    check_writable(args.out, folder=True)
    asked = asked_for(args)
    going_on = check_out(args.out, asked)
    if not going_on:
        check_apart(args.out, args.photos)
        args.out.mkdir(parents=True, exist_ok=True)
    with alone(args.out / LOCK):
        _run(args, asked, going_on)


def _run(args: Namespace, asked: dict[str, Any], going_on: bool) -> None:
    machine = this_machine()
    if going_on:
        plan = Plan.from_json(json.loads((args.out / PLAN).read_text()))
        print(f'{args.out}: going on')
        load_tables(args.photos)
        go_on(args, machine, plan)
    else:
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
        if name != STAGES[-1]:
            watch.write()
    print(f'\n{(args.out / "report" / "summary.txt").read_text(encoding="utf-8")}')
    print(f'{args.out / "report.html"} shows it.')

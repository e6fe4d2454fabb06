"""The plan of `mmbeitv2 pretrain`: look at the photos, choose, time a few steps, write configs."""

import json
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import mmbeitv2.launch.console  # noqa: F401  before torch and the hosts

import own_seen
import torch
from own_labels import Labelled, labels_to_judge_by, put_labelled
from own_start import Sources, check_sources, sources
from own_teachers import offline, teacher_config
from tqdm import tqdm

from mmbeitv2.checkpoints.atomic import free_bytes, write_atomically
from mmbeitv2.commands import environment, tools_folder
from mmbeitv2.datasets.survey import Survey, hold_out, survey
from mmbeitv2.engine import choose_precision
from mmbeitv2.errors import UnreadableFileError
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
from mmbeitv2.reports.own_progress import JUDGED, LABELLED, PLAN

# How every teacher begins what it says of weights that it could not get.
WEIGHTS_OF_TEACHER = re.compile(r'weights .*of the .*teacher')


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
    check_sources(args.tokenizer, args.start)
    # What changes while photos are looked at is noticed when the run goes on.
    seen = own_seen.look(args)
    found, labelled = look(args, machine)
    given = sources(args.tokenizer, args.start, args.out)
    teacher = None
    if given.tokenizer is None:
        teacher = teacher_config(args.teacher, machine.device)
    train, held_out = hold_out(found.photos, number_held_out(len(found.photos)), args.seed)
    wishes = Wishes(args.hours, args.size, args.image_size, args.codes)
    plan = make_plan(found, len(train), len(held_out), machine, wishes, given.given)
    if given.words:
        print(given.words, flush=True)
    plan.reasons['labels'] = in_words(labelled)
    put_labelled({} if isinstance(labelled, str) else labelled.by_class, args.out / LABELLED)
    data = write_lists(args, found, train, held_out)
    write_configs(args, plan, data, teacher, given)
    timed = time_steps(args.out, plan, machine)
    check_space(args.out, sum(stage['disk'] for stage in timed.values()))
    plan = with_lengths(
        plan, {n: seconds_a_step(plan, n, timed[n], machine) for n in timed}, args.hours
    )
    write_configs(args, plan, data, teacher, given)
    own_seen.note(args, seen)
    write_plan(args.out, plan)
    return plan


def look(args: Namespace, machine: Machine) -> tuple[Survey, Labelled | str]:
    """Read all photos once: what they are, and which judge.

    Raises:
        UserError: photos or labels that cannot be used.
    """
    bar = dict(desc='looking at the photos', unit=' photos', leave=False)
    look_at = partial(
        survey,
        workers=machine.cores,
        value_range=args.value_range,
        progress=lambda photos, total: tqdm(photos, total=total, **bar),
    )
    found = look_at(args.photos, image_column=args.image_column)
    print(f'{found.shown}: {found}', flush=True)
    check_photos(found)
    return found, labels_to_judge_by(args, found, look_at)


def go_on(args: Namespace, machine: Machine, plan: Plan) -> None:
    """Notice photos and labels that are not those of the plan; labels as they are now judge.

    Raises:
        UserError: labels that cannot be used any more.
    """
    before, now = own_seen.noted(args.out), own_seen.look(args)
    if before is None or before == now:
        return
    if words := own_seen.in_words(before, now, args.out):
        print(words, flush=True)
    # Labels that were asked for may have been half written when the run was killed.
    judged = args.labels is not None or (args.out / LABELLED).is_dir()
    if before.labels == now.labels or not judged:
        return
    print('note: the labels have changed since, and are asked about anew', flush=True)
    labelled = look(args, machine)[1]
    plan.reasons['labels'] = in_words(labelled)
    shutil.rmtree(args.out / JUDGED, ignore_errors=True)
    put_labelled({} if isinstance(labelled, str) else labelled.by_class, args.out / LABELLED)
    write_plan(args.out, plan)
    own_seen.note(args, replace(before, labels=now.labels))


def write_plan(out: Path, plan: Plan) -> None:
    """Keep the plan, by which a run goes on."""
    write_atomically(out / PLAN, json.dumps(plan.as_json(), indent=1).encode())


def in_words(labelled: Labelled | str) -> str:
    """What photos there are to judge by, for the plan."""
    if isinstance(labelled, str):
        return labelled
    count = sum(map(len, labelled.by_class.values()))
    return f'{count:,} photos of {len(labelled.by_class):,} classes, from {labelled.shown}'


def write_lists(
    args: Namespace, found: Survey, train: Sequence[str], held_out: Sequence[str]
) -> Data:
    """Write which photos are trained on, held out, and cannot be read."""
    unreadable = [f'{name}\t{reason}' for name, reason in found.unreadable.items()]
    for name, lines in (('train', train), ('held_out', held_out), ('unreadable', unreadable)):
        text = ''.join(f'{line}\n' for line in lines)
        write_atomically(args.out / f'{name}.txt', text.encode(errors='backslashreplace'))
    lists = ((args.out / f'{name}.txt').resolve() for name in ('train', 'held_out'))
    value_range = None if args.value_range is None else tuple(args.value_range)
    place = (args.out / LABELLED).resolve()
    labelled = place if place.is_dir() else None
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
            env={**environment(tools_folder()), **offline()},
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

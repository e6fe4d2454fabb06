"""Threads that wait sleep soon: what torch's OpenMP is told before it is loaded."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mmbeitv2.launch.threads import CHOSEN, TURNS, wait_asleep

ROOT = Path(__file__).resolve().parents[2]


def shown_by_openmp(*command, **variables):
    """Settings that GNU OpenMP prints as torch loads it, by name."""
    free = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    told = {'OMP_DISPLAY_ENV': 'VERBOSE', 'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command],
        env=free | told | variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    found = dict(re.findall(r"(GOMP_SPINCOUNT|OMP_WAIT_POLICY) = '(.+)'", done.stderr))
    if not found:
        pytest.skip('torch brings another OpenMP here')
    return found


def test_tools_tell_it_before_torch_is_loaded():
    assert shown_by_openmp(ROOT / 'tools/train.py', '--help')['GOMP_SPINCOUNT'] == TURNS


def test_what_the_user_has_chosen_stays():
    # As every tool begins; torch alone, which is sooner there than a whole tool.
    begin = ('-c', 'import mmbeitv2.launch.console, torch')
    assert shown_by_openmp(*begin, GOMP_SPINCOUNT='77')['GOMP_SPINCOUNT'] == '77'
    active = shown_by_openmp(*begin, OMP_WAIT_POLICY='ACTIVE')
    assert active['OMP_WAIT_POLICY'] == 'ACTIVE'
    assert active['GOMP_SPINCOUNT'] != TURNS


def test_importing_the_package_chooses_nothing_for_its_host():
    program = 'import os, mmbeitv2.models, mmbeitv2.apis; print(*os.environ)'
    done = subprocess.run(
        [sys.executable, '-c', program],
        env={k: v for k, v in os.environ.items() if k not in CHOSEN} | {'PYTHONPATH': str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert not set(CHOSEN) & set(done.stdout.split())


def test_an_empty_environment_gets_the_turns():
    environment = {}
    wait_asleep(environment)
    assert environment == {'GOMP_SPINCOUNT': TURNS}

"""A small set of demo photos, composed once."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='session')
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with 64 + 32 training photos and validation sets of 16."""
    out = tmp_path_factory.mktemp('data') / 'demo'
    counts = ['--train', '64', '--seg-train', '32', '--val', '16', '--workers', '1']
    command = [sys.executable, 'tools/make_demo_data.py', '--out', str(out), *counts]
    subprocess.run(command, cwd=ROOT, check=True)
    return out

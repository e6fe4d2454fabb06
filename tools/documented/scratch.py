"""A copy of the repository in which documented commands may write, with photos and checkpoints."""

import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterable
from pathlib import Path

from timm.data import ImageNetInfo

from .checks import ROOT

# Folder of the scratch copy: photos of each class for training and for validation.
CLASS_FOLDERS = {
    'photos/imagenet': (4, 2),
    'data/own': (8, 2),
    'data/own_classes': (4, 2),
}
# By whose names photos have their reassessed labels (ImageNet-ReaL).
IMAGENET_VAL = 'ILSVRC2012_val_{:08d}.JPEG'
ROBUSTNESS = {'imagenet-a': 200, 'imagenet-r': 200, 'imagenet-sketch': 1000, 'imagenet-v2': 1000}
QUICKSTART = 'work_dirs/quickstart'
# Where the demo's configs look for each other's checkpoints.
DEMO_STAGES = {
    'vqkd': 'vqkd/epoch_3.pth',
    'beitv2': 'seed0/pretrain/epoch_9.pth',
    'upernet': 'seed0/segment_random/iter_400.pth',
    'finetune': 'seed0/finetune_pretrained/epoch_4.pth',
}
# As docs/openmmlab.md has it.
OWN_CONFIGS = {
    'mine.py': "_base_ = 'mmbeitv2::beitv2_vit-b16_300e.py'\ndata_root = 'data/my_photos/'\n",
    'theirs.py': "_base_ = str(__import__('mmbeitv2.own_configs').own_configs.find_config("
    "'beitv2_vit-b16_300e.py'))\nmodel = dict(backbone=dict(drop_path_rate=0.2))\n",
}
# Photos by the names that the pages give them.
PHOTOS = ('photo.jpg', 'cat.jpg', 'dog.jpg')
# What the pages call a file that a reader has: a file of the quick start in its place.
NAMED_FILES = {
    'tokenizer.pth': 'vqkd',
    'vqkd.pth': 'vqkd',
    'vqkd_encoder_base_decoder_3x768x12_clip.pth': 'vqkd',
    'beitv2_base_patch16_224_pt1k.pth': 'seed0/pretrain',
    'pretrained.pth': 'seed0/pretrain',
    'iter_160000.pth': 'seed0/segment_random',
}


def make_scratch(folder: Path, demo: Path, quickstart: Path | None) -> Path:
    """Copy what git knows or does not ignore, and give the copy data and an environment.

    Args:
        folder: to be made.
        demo: the composed demo photos, only read.
        quickstart: folder of a finished quick start, only read; None: its models with random
            weights.

    Returns:
        the folder.
    """
    _copy_repository(folder)
    _link_environment(folder)
    (folder / 'data').mkdir()
    (folder / 'data' / 'demo').symlink_to(demo.resolve())
    _classes(folder, demo / 'imagenet')
    _segmentation(folder / 'data/ade/ADEChallengeData2016', demo / 'ade')
    photo = next((demo / 'imagenet/val').glob('*/*'))
    for name in PHOTOS:
        shutil.copy(photo, folder / name)
    _several_places(folder, demo / 'imagenet')
    for name, text in OWN_CONFIGS.items():
        (folder / name).write_text(text)
    if quickstart is not None:
        _quickstart(folder, quickstart)
    else:
        _random_quickstart(folder)
    for name, stage in NAMED_FILES.items():
        newest = (folder / QUICKSTART / stage / 'last_checkpoint').read_text()
        (folder / name).symlink_to(newest)
    return folder


def _copy_repository(folder: Path) -> None:
    listed = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others', '--exclude-standard'],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().split('\0'):
        source = ROOT / name
        if name and source.is_file() and not source.is_symlink():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, folder / name)
    subprocess.run(['git', 'init', '-q'], cwd=folder, check=True)


def _link_environment(folder: Path) -> None:
    """``.venv`` of the copy: this Python, noted as installed, so that no script installs."""
    venv = folder / '.venv'
    venv.mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name not in ('bin', 'mmbeitv2-installed'):
            (venv / entry.name).symlink_to(entry)
    (venv / 'bin').mkdir()
    for program in (Path(sys.prefix) / 'bin').iterdir():
        if program.name != 'mmbeitv2':
            (venv / 'bin' / program.name).symlink_to(program)
    # As pip writes it; an environment that was installed before the command was added lacks it.
    command = venv / 'bin' / 'mmbeitv2'
    command.write_text(f'#!{venv}/bin/python\nfrom mmbeitv2_command import main\n\nmain()\n')
    command.chmod(0o755)
    stamp = 'echo "$(cat pyproject.toml setup.py constraints.txt | cksum) $PWD"'
    noted = subprocess.run(
        ['bash', '-c', stamp], cwd=folder, capture_output=True, text=True, check=True
    )
    (venv / 'mmbeitv2-installed').write_text(noted.stdout)


def _link(files: Iterable[Path], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        (folder / file.name).symlink_to(file.resolve())


def _several_places(folder: Path, photos: Path) -> None:
    """``data/a``, ``data/b`` and a tar in ``data/shards``, each of other photos."""
    for place, source in (('a', 'train'), ('b', 'val')):
        _link(sorted((photos / source).glob('*/*'))[:40], folder / 'data' / place)
    (folder / 'data/shards').mkdir()
    with tarfile.open(folder / 'data/shards/train-000.tar', 'w') as tar:
        for photo in sorted((photos / 'train').glob('*/*'))[40:80]:
            tar.add(photo, photo.name)


def _classes(folder: Path, photos: Path) -> None:
    for label in sorted(path.name for path in (photos / 'train').iterdir()):
        train = sorted((photos / 'train' / label).iterdir())
        val = sorted((photos / 'val' / label).iterdir())
        for name, (for_training, for_validation) in CLASS_FOLDERS.items():
            _link(train[:for_training], folder / name / 'train' / label)
            _link(val[:for_validation], folder / name / 'val' / label)
        _link(train[:4], folder / 'data/imagenet21k/train' / label)
        _link(train[:12], folder / 'data/own-labelled' / label)
        _link(train[12:36], folder / 'data/own-train' / label)
        _link(val[:6], folder / 'data/own-val' / label)
    for number, photo in enumerate(sorted((folder / 'photos/imagenet/val').glob('*/*')), 1):
        photo.rename(photo.with_name(IMAGENET_VAL.format(number)))
    _write_lists(folder / 'photos/imagenet')
    (folder / 'data/imagenet').symlink_to('../photos/imagenet')
    for variant, count in ROBUSTNESS.items():
        synsets = ImageNetInfo().label_names()[:count]
        for name in map(str, range(count)) if variant == 'imagenet-v2' else synsets:
            _link(val[:1], folder / 'data' / variant / name)


def _write_lists(imagenet: Path) -> None:
    """Lists of files and labels, without which ImageNet's folders have to be a thousand."""
    (imagenet / 'meta').mkdir()
    for split in ('train', 'val'):
        files = sorted((imagenet / split).glob('*/*'))
        classes = sorted({file.parent.name for file in files})
        lines = [
            f'{file.relative_to(imagenet / split)} {classes.index(file.parent.name)}\n'
            for file in files
        ]
        (imagenet / 'meta' / f'{split}.txt').write_text(''.join(lines))


def _segmentation(folder: Path, ade: Path) -> None:
    for split, source, count in (
        ('training', 'training', 4),
        ('validation', 'validation', 2),
        ('testing', 'validation_unseen', 2),
    ):
        images = sorted((ade / 'images' / source).iterdir())[:count]
        masks = [ade / 'annotations' / source / f'{image.stem}.png' for image in images]
        _link(images, folder / 'images' / split)
        _link(masks, folder / 'annotations' / split)


def _quickstart(folder: Path, quickstart: Path) -> None:
    """The run's folders with links to their checkpoints; ``last_checkpoint`` names them there."""
    target = folder / QUICKSTART
    for stage in [path for path in [quickstart, *quickstart.rglob('*')] if path.is_dir()]:
        weights = sorted(stage.glob('*.pth'), key=lambda path: int(path.stem.rpartition('_')[2]))
        if weights:
            copy = target / stage.relative_to(quickstart)
            _link(weights, copy)
            (copy / 'last_checkpoint').write_text(os.path.relpath(copy / weights[-1].name, folder))


def _random_quickstart(folder: Path) -> None:
    """The demo's models as they begin: they have the files' form, and have learned nothing."""
    for name, stage in DEMO_STAGES.items():
        path = Path(QUICKSTART) / stage
        config = f'configs/demo/{name}_demo.py'
        subprocess.run(
            [sys.executable, '-m', 'documented.random_weights', config, path],
            cwd=folder,
            env=os.environ | {'PYTHONPATH': f'{folder}{os.pathsep}{folder / "tools"}'},
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (folder / path.parent / 'last_checkpoint').write_text(str(path))

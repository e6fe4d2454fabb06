"""What pyproject.toml cannot say: the wheel carries configs and tools in ``mmbeitv2/.mim``.

OpenMMLab's packages do so too, and ``mim`` looks for them there.
"""

import shutil
from pathlib import Path

from setuptools import setup
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


setup(cmdclass={'build_py': BuildWithMim})

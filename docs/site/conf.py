"""Settings of the documentation site: the repository's Markdown pages where they are.

The source folder is the repository's root, so that a link means the same file here and on a code
host. ``bash tools/build_docs.sh`` builds it.
"""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import mmbeitv2.launch.console  # noqa: E402, F401  what the hosts print is left out

from repository_files import source_of as linkcode_resolve  # noqa: E402, F401

from mmbeitv2.version import __version__  # noqa: E402

project = 'mmbeitv2'
project_copyright = 'the mmbeitv2 contributors'
version = release = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.napoleon',
    'sphinx.ext.linkcode',
    'modules',
    'repository_files',
]
root_doc = 'docs/index'
include_patterns = [
    'README.md',
    'CHANGELOG.md',
    'CODE_OF_CONDUCT.md',
    'CONTRIBUTING.md',
    'SECURITY.md',
    'demo/README.md',
    'demo/assets/README.md',
    'docs/*.md',
    'docs/api/*.rst',
]
# Sphinx walks through every folder that is not excluded, and a data set has millions of files.
exclude_patterns = [
    entry.name for entry in ROOT.iterdir() if entry.is_dir() and entry.name not in ('docs', 'demo')
]

myst_heading_anchors = 4
myst_enable_extensions = ['smartquotes']

autodoc_default_options = {'members': True, 'show-inheritance': True}
autodoc_member_order = 'bysource'
autodoc_typehints = 'signature'
add_module_names = False
# With every method in it the menu takes half of the time to build.
toc_object_entries = False
napoleon_numpy_docstring = False
napoleon_use_ivar = True

html_theme = 'furo'
html_title = f'mmbeitv2 {__version__}'
html_static_path = ['static']
html_css_files = ['site.css']
# The address of the whole site leads to its first page, which lies in docs/ as its source does.
html_extra_path = ['root']
html_copy_source = False
html_show_sphinx = False
html_theme_options = {'navigation_with_keys': True}

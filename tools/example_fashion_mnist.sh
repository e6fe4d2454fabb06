#!/usr/bin/env bash
# BEiT v2 on Fashion-MNIST, from the package's files to a report:
#   bash tools/example_fashion_mnist.sh [WORK_DIR] [--help]
# Creates .venv (or $MMBEITV2_VENV), installs the tested versions, runs every stage.
set -euo pipefail
caller="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ " $* " == *' --help '* || " $* " == *' -h '* ]]; then
    source tools/find_python.sh
    python="$(mmbeitv2_find_python)"
    cd tools
    exec "$python" -c 'from example_options import parse_args; parse_args()' --help
fi
source tools/env.sh
cd "$caller"
exec python "$mmbeitv2_root/tools/example_fashion_mnist.py" "$@"

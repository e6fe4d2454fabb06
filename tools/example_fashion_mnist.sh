#!/usr/bin/env bash
# BEiT v2 on Fashion-MNIST, from the package's files to a report:
#   bash tools/example_fashion_mnist.sh [WORK_DIR] [--help]
# Creates .venv (or $MMBEITV2_VENV), installs the tested versions, runs every stage.
set -euo pipefail
caller="$PWD"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source tools/env.sh
cd "$caller"
exec python "$mmbeitv2_root/tools/example_fashion_mnist.py" "$@"

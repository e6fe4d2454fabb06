#!/usr/bin/env bash
# Tests the repository with OpenMMLab's own releases: bash tools/test_upstream.sh [pytest arguments]
# They are those of constraints-openmmlab.txt: torch 2.1, mmcv 2.1.0, mmengine 0.10.7, mmpretrain
# 1.2.0, mmsegmentation 1.2.2 and NumPy 1.26, on Python 3.10. Builds their environment once, for
# which mmcv is compiled: some 20 minutes on two cores, with a C++ compiler. What needs a later
# torch is skipped, and the summary says which.
#   MMBEITV2_VENV    the environment, .venv-openmmlab unless set; one that exists is completed
#   MMBEITV2_WHEELS  a folder with a wheel of mmcv 2.1.0 with its operators: nothing is compiled
# A -m of your own replaces 'not slow'.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ " $* " == *' --help '* || " $* " == *' -h '* ]]; then
    # The comment above.
    sed -n '2,/^[^#]/s/^# //p' tools/test_upstream.sh
    exit
fi

venv="${MMBEITV2_VENV:-.venv-openmmlab}"
python="$venv/bin/python"
versions=constraints-openmmlab.txt
stamp="$venv/mmbeitv2-upstream-installed"
# The repository's path is part of it: the install is an editable one.
wanted="$(cat pyproject.toml setup.py "$versions" | cksum) $PWD"

install() {
    "$python" -m pip install --disable-pip-version-check -c "$versions" "$@"
}

has_operators() {
    "$python" -c 'import mmcv.ops' >/dev/null 2>&1
}

build_mmcv() {
    local wheels=()
    if [[ -z "${MMBEITV2_WHEELS:-}" ]]; then
        echo 'Compiling mmcv 2.1.0 (once; some 20 minutes on two cores)'
        # Its setup.py imports torch, which an isolated build would not have.
        MMCV_WITH_OPS=1 install --no-build-isolation mmcv==2.1.0
        return
    fi
    wheels=("$MMBEITV2_WHEELS"/mmcv-2.1.0-*.whl)
    if [[ ! -f "${wheels[0]}" ]]; then
        echo "MMBEITV2_WHEELS is $MMBEITV2_WHEELS, which has no mmcv-2.1.0-*.whl: name a folder" >&2
        echo 'that has one, or leave it out to compile mmcv.' >&2
        return 1
    fi
    install "${wheels[0]}"
}

build_environment() {
    if [[ ! -x "$python" ]]; then
        if ! python3.10 -c 'import ensurepip, venv' >/dev/null 2>&1; then
            echo 'python3.10 with the venv module was not found on PATH: install one,' >&2
            echo "or make the environment with yours: PYTHON -m venv $venv" >&2
            return 1
        fi
        python3.10 -m venv "$venv"
    fi
    install setuptools wheel ninja numpy torch torchvision
    has_operators || build_mmcv
    if ! has_operators; then
        echo "mmcv in $venv has no operators: uninstall it there, and where pip keeps such a" >&2
        echo 'build, run `pip cache remove mmcv`.' >&2
        return 1
    fi
    install --no-build-isolation --use-pep517 -e '.[openmmlab,demo,test]'
    echo "$wanted" > "$stamp"
}

if [[ ! -f "$stamp" || "$(cat "$stamp")" != "$wanted" ]]; then
    build_environment
fi
export PATH="$(cd "$venv/bin" && pwd):$PATH"
exec python -m pytest -n auto --maxprocesses 4 --dist loadfile -m 'not slow' "$@"

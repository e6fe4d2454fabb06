#!/usr/bin/env bash
# Builds the documentation site: bash tools/build_docs.sh [FOLDER]
# The site is put into work_dirs/site, or into FOLDER, which must be new or an earlier site.
# It needs no network; a warning, or a link that leads nowhere, is an error. Half a minute on one
# core, after the tested versions are installed into .venv (or $MMBEITV2_VENV), once.
set -euo pipefail
if [[ " $* " == *' --help '* || " $* " == *' -h '* ]]; then
    # The comment above.
    sed -n '2,/^[^#]/s/^# //p' "${BASH_SOURCE[0]}"
    exit
fi
source "$(dirname "${BASH_SOURCE[0]}")/env.sh"
exec python "$mmbeitv2_root/docs/site/build.py" "$@"

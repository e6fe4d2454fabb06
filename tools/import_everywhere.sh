#!/usr/bin/env bash
# Imports the package on every Python 3.10 to 3.12 of this machine: bash tools/import_everywhere.sh
# Installs nothing and writes nothing into the repository. Where OpenMMLab is missing, as in most of
# these Pythons, the import must end with the one line that names the extra to install. Every file
# of package, tools and configs must compile, and what runs before an installation must import.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ " $* " == *' --help '* || " $* " == *' -h '* ]]; then
    # The comment above.
    sed -n '2,/^[^#]/s/^# //p' tools/import_everywhere.sh
    exit
fi

# Those on PATH, and those that pyenv keeps, whose names on PATH run for the chosen version alone.
candidates() {
    local version
    for version in 3.10 3.11 3.12; do
        type -ap "python$version" || true
        if command -v pyenv >/dev/null; then
            ls -d "$(pyenv root)/versions/$version".*/bin/"python$version" 2>/dev/null || true
        fi
    done
}

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT
# Compiled files go there.
export PYTHONPYCACHEPREFIX="$scratch/pycache" PYTHONPATH="$PWD"
tried=
while read -r python; do
    version="$("$python" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null)" ||
        continue
    if [[ " $tried " == *" $version "* ]]; then
        continue
    fi
    tried+=" $version"
    "$python" -m compileall -q mmbeitv2 tools configs mmbeitv2_command.py
    (cd tools && "$python" -c 'import quickstart_options')
    "$python" tools/import_or_cure.py
done < <(candidates)
if [[ -z "$tried" ]]; then
    echo "No Python 3.10, 3.11 or 3.12 was found on PATH; install one, or put it there." >&2
    exit 1
fi

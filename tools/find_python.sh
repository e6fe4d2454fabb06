# Sourced by the other scripts: finds a Python that this project runs on, and installs nothing.

mmbeitv2_find_python() {
    local name
    for name in python3.11 python3.12 python3.10 python3 python; do
        # A name on PATH may be a version manager's shim that does not run, or lack ensurepip.
        if "$name" -c 'import ensurepip, sys, venv; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
            >/dev/null 2>&1; then
            echo "$name"
            return
        fi
    done
    echo "No Python 3.10, 3.11 or 3.12 with the venv module was found on PATH." >&2
    echo "Install one (Debian and Ubuntu: python3 and python3-venv), or set MMBEITV2_VENV to an" >&2
    echo "existing environment of one of these versions." >&2
    return 1
}

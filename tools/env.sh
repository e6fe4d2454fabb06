# Sourced by the other scripts: puts a Python environment with the tested versions first on PATH.
#
# The environment is $MMBEITV2_VENV (a path, from the repository on if relative), or .venv. It is created when missing, and
# installed once for each content of pyproject.toml, setup.py and constraints.txt; otherwise nothing is printed.

mmbeitv2_root="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
mmbeitv2_venv="${MMBEITV2_VENV:-.venv}"
if [[ "$mmbeitv2_venv" != /* ]]; then
    mmbeitv2_venv="$mmbeitv2_root/$mmbeitv2_venv"
fi

source "$mmbeitv2_root/tools/find_python.sh"

mmbeitv2_install() {
    local python stamp wanted start
    stamp="$mmbeitv2_venv/mmbeitv2-installed"
    # The repository's path is part of it: the install is an editable one.
    wanted="$(cat "$mmbeitv2_root"/{pyproject.toml,setup.py,constraints.txt} | cksum) $mmbeitv2_root"
    if [[ -f "$stamp" && "$(cat "$stamp")" == "$wanted" ]]; then
        return
    fi
    start=$SECONDS
    if [[ ! -x "$mmbeitv2_venv/bin/python" ]]; then
        python="$(mmbeitv2_find_python)" || return 1
        echo "Creating $mmbeitv2_venv with $("$python" --version)"
        "$python" -m venv "$mmbeitv2_venv" || return 1
    fi
    python="$mmbeitv2_venv/bin/python"
    echo "Installing the tested versions into $mmbeitv2_venv (once; a few minutes, mostly PyTorch)"
    # setuptools builds the package below and is absent from new environments since Python 3.12.
    "$python" -m pip install --disable-pip-version-check -q \
        -c "$mmbeitv2_root/constraints.txt" setuptools || return 1
    # Not --quiet: the download of PyTorch should be seen moving.
    (cd "$mmbeitv2_root" && "$python" -m pip install --disable-pip-version-check \
        --no-build-isolation --use-pep517 -c constraints.txt -e '.[onedl,demo,docs,test]') || return 1
    echo "$wanted" > "$stamp"
    echo "Installed in $((SECONDS - start)) s"
}

mmbeitv2_install || exit 1
export PATH="$mmbeitv2_venv/bin:$PATH"

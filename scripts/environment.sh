#!/bin/sh
# Create the virtual environment and install into it: environment.sh VENV WHAT [PIP OPTIONS…]
set -eu
venv=$1
what=$2
shift 2
python=${PYTHON:-python3}

fail() {
    echo "error: $1" >&2
    exit 1
}

command -v "$python" >/dev/null 2>&1 || fail "$python is not installed; install Python 3.11 or newer, or set PYTHON=/path/to/python"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version 2>&1) is too old; install Python 3.11 or newer, or set PYTHON=/path/to/python"
if [ ! -x "$venv/bin/python" ]; then
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "$python has no venv module; on Debian and Ubuntu: apt install python3-venv"
    "$python" -m venv "$venv"
fi
echo "installing $what into $venv; the first time this takes a minute or two"
"$venv/bin/python" -m pip install --disable-pip-version-check --quiet --editable "$what" "$@" ||
    fail "pip could not install $what; see its messages above, then run the command again"

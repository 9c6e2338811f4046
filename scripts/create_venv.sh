#!/bin/sh
# Create a virtual environment with a pip that knows dependency groups.
#
#     scripts/create_venv.sh DIRECTORY [PYTHON]
#
# PYTHON defaults to the first of python3, python3.13 ... python3.10 that runs and is 3.10 to 3.13.
# Where venv cannot bring pip (Debian keeps that half in python3-venv), it is installed as root,
# else virtualenv steps in; where neither can be had, the last lines say what to do.
set -eu

directory=$1
wanted=${2:-}
borrowed=
finished=

# Half an environment would pass for a whole one at the next run.
tidy() {
    [ -z "$borrowed" ] || rm -rf "$borrowed"
    [ -n "$finished" ] || rm -rf "$directory"
}
trap tidy EXIT
trap 'exit 130' INT TERM

say() { printf '==> %s\n' "$*"; }
is_supported() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))' >/dev/null 2>&1
}

find_python() {
    for candidate in ${wanted:-python3 python3.13 python3.12 python3.11 python3.10}; do
        if is_supported "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    {
        echo "create_venv.sh: no Python 3.10 to 3.13: tried ${wanted:-python3 and python3.10 to python3.13 on PATH}."
        echo "  Debian, Ubuntu: apt-get install python3 python3-venv      Fedora: dnf install python3.12"
        echo "  or name one:    make PYTHON=/path/to/python3.12 ..."
    } >&2
    return 1
}

has_ensurepip() { "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; }

install_python_venv() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    # The distribution's own python only: its packages do nothing for another one.
    case $("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))') in
        /usr/bin/*) ;;
        *) return 1 ;;
    esac
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    say "installing Debian's $package"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -qq -y "$package" >/dev/null 2>&1 ||
        { apt-get update -qq && apt-get install -qq -y "$package" >/dev/null; }
}

use_virtualenv() {
    if ! "$python" -m virtualenv --version >/dev/null 2>&1; then
        "$python" -m pip --version >/dev/null 2>&1 || return 1
        # --target leaves the system's packages alone, and is allowed where those are managed by others.
        borrowed=$(mktemp -d)
        say "fetching virtualenv: $python has no venv"
        "$python" -m pip install -qq --target "$borrowed" virtualenv || return 1
        export PYTHONPATH="$borrowed"
    fi
    "$python" -m virtualenv --quiet "$directory"
}

python=$(find_python)
say "creating $directory with $("$python" -c 'import platform; print("Python", platform.python_version())') ($python)"
if has_ensurepip || { install_python_venv && has_ensurepip; }; then
    "$python" -m venv --clear "$directory"
elif ! use_virtualenv; then
    {
        echo "create_venv.sh: $python has neither venv nor pip, so no environment can be made with it. One of these helps:"
        echo "  Debian, Ubuntu: apt-get install python3-venv     (as root; make does that by itself then)"
        echo "  elsewhere:      install pip or virtualenv for it, or name another: make PYTHON=/path/to/python3"
    } >&2
    exit 1
fi
# Dependency groups arrived in pip 25.1.
"$directory/bin/python" -m pip install -qq --disable-pip-version-check --upgrade 'pip>=25.1'
finished=yes

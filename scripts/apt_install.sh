#!/bin/sh
# Install Debian packages for the tests, where that can be done: as root, with apt, and not again where it has failed.
#
#     scripts/apt_install.sh PACKAGE...
#
# Says what it does, and what else would help. It never fails: what is missing is left to the tests.
set -eu

failed=$(dirname "$0")/../.venv/.apt-failed
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "==> missing: as root, apt-get install $*"
    exit 0
fi
# Without a network the lists take apt half a minute or more of trying.
if grep -qsxF "$*" "$failed"; then
    echo "==> missing, and it could not be installed before: apt-get install $* says why; make clean has it tried again"
    exit 0
fi
echo "==> installing Debian's $*: once, half a minute"
export DEBIAN_FRONTEND=noninteractive
# Where something else installs at this moment, it is waited for.
quietly() { apt-get -qq -y -o DPkg::Lock::Timeout=120 "$@" >/dev/null 2>&1; }
install() { quietly install --no-install-recommends "$@"; }
install "$@" || { quietly update && install "$@"; } || {
    echo "==> that did not work: apt-get install $* says why"
    [ ! -d "${failed%/*}" ] || echo "$*" >>"$failed"
}

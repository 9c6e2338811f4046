#!/bin/sh
# Install what Debian has of the tests' services: RabbitMQ, and `ip` for the test with several hosts.
#
#     scripts/install_services.sh
#
# Does nothing where both are there. What can't be installed is left to the tests, which skip and say why.
set -eu

apt_install=$(dirname "$0")/apt_install.sh

command -v ip >/dev/null || "$apt_install" iproute2
if ! test -x /usr/lib/rabbitmq/bin/rabbitmq-server; then
    if test -d /run/systemd/system; then
        # There the package starts a server that stays, now and at each boot: nothing to do to somebody's machine unasked.
        echo "==> no RabbitMQ, whose tests are left out: as root, apt-get install rabbitmq-server," \
            "which starts one here that systemctl disable --now rabbitmq-server ends"
    else
        # Elsewhere the runlevel of a machine for one person keeps the package from starting one.
        RUNLEVEL=1 "$apt_install" rabbitmq-server
    fi
fi

#!/bin/sh
# Install Debian's Chromium and its driver, for the test of the Django example's page.
#
#     scripts/install_chromium.sh
#
# Does nothing where both are there. Where they can't be installed it leaves that to the test, which skips at a desk and
# fails where CI is set.
set -eu

has_both() { command -v chromium >/dev/null && command -v chromedriver >/dev/null; }

has_both || "$(dirname "$0")/apt_install.sh" chromium chromium-driver fonts-dejavu-core

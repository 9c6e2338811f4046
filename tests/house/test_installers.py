"""What the installers of the tests' services do to a machine: install, tell, or let it be. Its programs are fakes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

WORKS, FAILS = "exit 0", "exit 1"
SERVICES, CHROMIUM = "install_services.sh", "install_chromium.sh"


class Machine:
    """A machine with apt, root and nothing else.

    Args:
        folder: Where it is.
        apt: What its apt-get does.
        uid: Who asks.
    """

    def __init__(self, folder: Path, apt: str = WORKS, uid: int = 0) -> None:
        self.folder, self.path, self.scripts = folder, folder / "bin", folder / "checkout" / "scripts"
        (folder / "checkout" / ".venv").mkdir(parents=True)
        self.path.mkdir()
        self.scripts.mkdir()
        for name in ("dirname", "grep", "sh"):
            (self.path / name).symlink_to(str(shutil.which(name)))
        self.has("id", f"echo {uid}")
        self.has("apt-get", f'echo "$RUNLEVEL $*" >> {folder}/asked; {apt}')
        for name in ("apt_install.sh", SERVICES, CHROMIUM):
            text = (CHECKOUT / "scripts" / name).read_text()
            for directory in ("/usr/lib/rabbitmq", "/run/systemd"):
                text = text.replace(directory, f"{folder}{directory}")
            self._write(self.scripts / name, text)

    def has(self, name: str, does: str = "exit 0") -> None:
        self._write(self.path / name, f"#!/bin/sh\n{does}\n")

    def run(self, script: str) -> str:
        ran = subprocess.run(
            [self.scripts / script],
            env={"PATH": str(self.path), "RUNLEVEL": "5"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert ran.stderr == ""
        return ran.stdout

    @property
    def asked(self) -> list[str]:
        """What apt-get was called with, after the runlevel that it was to see."""
        told = self.folder / "asked"
        lines = told.read_text().splitlines() if told.exists() else []
        return [line.replace("-qq -y -o DPkg::Lock::Timeout=120 ", "") for line in lines]

    def _write(self, path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)


def test_what_is_missing_is_installed(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert "installing Debian's iproute2" in machine.run(SERVICES)
    machine.run(CHROMIUM)
    assert machine.asked == [
        "5 install --no-install-recommends iproute2",
        "1 install --no-install-recommends rabbitmq-server",
        "5 install --no-install-recommends chromium chromium-driver fonts-dejavu-core",
    ]


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for name in ("ip", "chromium", "chromedriver"):
        machine.has(name)
    server = tmp_path / "usr/lib/rabbitmq/bin/rabbitmq-server"
    server.parent.mkdir(parents=True)
    shutil.copy(machine.path / "ip", server)
    assert machine.run(SERVICES) + machine.run(CHROMIUM) == ""
    assert machine.asked == []


def test_under_systemd_no_server_is_installed_that_would_stay(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.has("ip")
    (tmp_path / "run/systemd/system").mkdir(parents=True)
    assert "as root, apt-get install rabbitmq-server" in machine.run(SERVICES)
    assert machine.asked == []


@pytest.mark.parametrize("script", [SERVICES, CHROMIUM])
def test_without_root_it_is_said_and_left(tmp_path: Path, script: str) -> None:
    machine = Machine(tmp_path, uid=1000)
    assert "missing: as root, apt-get install" in machine.run(script)
    assert machine.asked == []


def test_where_it_has_failed_it_is_not_tried_at_every_run(tmp_path: Path) -> None:
    machine = Machine(tmp_path, apt=FAILS)
    assert "that did not work" in machine.run(CHROMIUM)
    tried = machine.asked
    assert [line.split()[1] for line in tried] == ["install", "update"]
    assert "could not be installed before" in machine.run(CHROMIUM)
    assert machine.asked == tried
    (machine.scripts.parent / ".venv" / ".apt-failed").unlink()
    machine.run(CHROMIUM)
    assert machine.asked == 2 * tried

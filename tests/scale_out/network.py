"""Hosts on one machine: network namespaces, each with a loopback of its own, joined by one switch that has one too.

Owns the namespaces, their links, and the end of every process that was started in them. Nothing of it is in the
machine's own namespace, neither a link nor a packet, so any addresses will do. Files and processes are shared: what
hosts see under one path is one folder, as on a file server, and a signal reaches every process by its id.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.waiting import wait_until

#: For documentation (RFC 5737): no route leads there.
_ADDRESS = "192.0.2.{}"
_SWITCH = "switch"
_PREFIX = "predictd-test"


class Host:
    """One namespace.

    Args:
        name: As the test calls it.
        namespace: Its namespace.
        address: Its address on the switch.
        switch: The switch's namespace, which has the other end of its cable under the host's name.

    Attributes:
        name: As the test calls it.
        address: Likewise.
    """

    def __init__(self, name: str, namespace: str, address: str, switch: str) -> None:
        self.name, self.address = name, address
        self._namespace, self._switch = namespace, switch

    def command(self, *words: str) -> list[str]:
        """Return a command as it is run on this host; `ip` becomes it, so that its process id is the command's."""
        return ["ip", "netns", "exec", self._namespace, *words]

    def run(self, *words: str, **options: Any) -> subprocess.Popen[bytes]:
        """Start a command on this host."""
        return subprocess.Popen(self.command(*words), stdin=subprocess.DEVNULL, **options)

    def cut_off(self) -> None:
        """Pull the cable at the switch: no connection is closed, packets are lost in both directions."""
        _ip("-netns", self._switch, "link", "set", "dev", self.name, "down")

    def plug_in(self) -> None:
        """Put the cable back."""
        _ip("-netns", self._switch, "link", "set", "dev", self.name, "up")

    def reaches(self, other: Host, port: int) -> bool:
        """Whether a connection to another host comes about."""
        program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 0.5)"
        words = self.command(sys.executable, "-c", program, other.address, str(port))
        return subprocess.run(words, check=False, stderr=subprocess.DEVNULL).returncode == 0


@contextlib.contextmanager
def network(*names: str) -> Iterator[list[Host]]:
    """Join hosts by a switch; at the end no process, link or namespace of theirs is left."""
    _remove_orphans()
    token = secrets.token_hex(3)
    namespaces = {name: f"{_PREFIX}-{os.getpid()}-{token}-{name}" for name in (_SWITCH, *names)}
    try:
        for namespace in namespaces.values():
            _ip("netns", "add", namespace)
        switch = namespaces[_SWITCH]
        _ip("-netns", switch, "link", "add", "name", "bridge", "type", "bridge")
        _ip("-netns", switch, "link", "set", "dev", "bridge", "up")
        hosts = []
        for number, name in enumerate(names, 1):
            host = Host(name, namespaces[name], _ADDRESS.format(number), switch)
            peer = ("peer", "name", "cable", "netns", namespaces[name])
            _ip("-netns", switch, "link", "add", "name", name, "type", "veth", *peer)
            _ip("-netns", switch, "link", "set", "dev", name, "master", "bridge", "up")
            _ip("-netns", namespaces[name], "address", "add", f"{host.address}/24", "dev", "cable")
            for link in ("cable", "lo"):
                _ip("-netns", namespaces[name], "link", "set", "dev", link, "up")
            hosts.append(host)
        yield hosts
    finally:
        for namespace in namespaces.values():
            _remove(namespace)


def why_not() -> str | None:
    """Return why there can be no such network here; None where there can be."""
    if shutil.which("ip") is None:
        return "no `ip` on PATH: apt-get install iproute2"
    if os.geteuid() != 0:
        return "network namespaces take root's privileges (CAP_NET_ADMIN, CAP_SYS_ADMIN), and this is not root"
    try:
        with network("probe"):
            return None
    except subprocess.CalledProcessError as error:
        return f"network namespaces are refused here: {' '.join(error.cmd)}: {error.stderr.strip()}"


def _remove_orphans() -> None:
    """Remove what a test process left that was killed."""
    for namespace in _ip("netns", "list").split():
        found = re.fullmatch(rf"{_PREFIX}-(\d+)-.*", namespace)
        if found and not Path(f"/proc/{found[1]}").exists():
            _remove(namespace)


def _remove(namespace: str) -> None:
    """End what runs in a namespace, and remove it; its links go with it."""
    if namespace not in _ip("netns", "list").split():
        return

    def pids() -> list[int]:
        return [int(pid) for pid in _ip("netns", "pids", namespace).split()]

    def kill() -> bool:
        for pid in pids():
            # One that has ended meanwhile; all others were started here, whoever their parents are.
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not pids()

    wait_until(kill, what=f"no process is left in {namespace}")
    _ip("netns", "delete", namespace)


def _ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout

"""A daemon is told to stop, whatever it is at: it says so, leaves no socket behind, and exits as is documented."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import predictd
from tests.daemon_process import DaemonProcess
from tests.faults.situations import sleep_for
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


def catches_sigterm(daemon: DaemonProcess) -> bool:
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    caught = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(caught.split()[1], 16) & 1 << (signal.SIGTERM - 1))


MOMENTS = {
    "its first": catches_sigterm,
    "it listens": lambda daemon: "listening on" in daemon.log,
    "TensorFlow is imported": lambda daemon: "tensorflow" in Path(f"/proc/{daemon.pid}/maps").read_text(),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_told_to_stop_while_it_starts_it_says_so_and_exits_0(start_daemon, models, run_directory, moment) -> None:
    daemon = start_daemon(models / "mlp.keras", wait=False)
    wait_until(lambda: daemon.process.poll() is not None or MOMENTS[moment](daemon), what=moment)
    daemon.signal(signal.SIGTERM)
    assert daemon.wait(60) == 0, daemon.log
    assert "SIGTERM: draining" in daemon.log
    assert "stopped: 0 requests answered" in daemon.log
    assert "Traceback" not in daemon.log
    assert sorted(path.name for path in run_directory.iterdir()) == ["daemon.log", "p.sock.lock"]


def test_told_twice_while_it_loads_and_answers_it_leaves_at_once_and_leaves_no_socket(
    start_daemon, models, run_directory
) -> None:
    (run_directory / "gate.py").write_text("import time\ntime.sleep(3600)\n")
    config = run_directory / "predictd.toml"
    held = f'[models.the_last]\npath = "{models}/mlp.keras"\nmodules = ["gate"]\n'
    config.write_text(f'drain_timeout_s = 3600\n[models]\nsleeper = "{models}/sleeper"\n{held}')
    daemon = start_daemon("--config", config, wait=False)
    wait_until(lambda: "model sleeper version 1 is ready" in daemon.log)
    with daemon.client(retries=None) as client, ThreadPoolExecutor(1) as pool:
        asking = pool.submit(client.predict, "sleeper", sleep_for(3600), timeout_ms=3_600_000)
        wait_until(lambda: client.status().running_ms > 0, what="the run begins")
        daemon.signal(signal.SIGTERM)
        wait_until(lambda: "SIGTERM: draining" in daemon.log)
        daemon.signal(signal.SIGTERM)
        assert daemon.wait(60) == 128 + signal.SIGTERM, daemon.log
        assert isinstance(asking.exception(60), predictd.TransportError)
    assert not (run_directory / "p.sock").exists()

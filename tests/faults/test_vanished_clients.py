"""Clients that die with requests in the queue of a real daemon: they are gone from it while the run before goes on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.daemon_process import clean_environment
from tests.faults.situations import in_thread, served_sleeper, sleep_for
from tests.ports import free_tcp_endpoint
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

ASKER = """
import sys, threading
import numpy as np
import predictd
seconds = np.array([float(sys.argv[2])], np.float32)
client = predictd.Client(sys.argv[1], retries=None, timeout_ms=600_000)
if sys.argv[3] == "threads":
    for _ in range(8):
        threading.Thread(target=client.predict, args=("sleeper", seconds), daemon=True).start()
else:
    futures = [client.submit("sleeper", seconds) for _ in range(40)]
sys.stdin.readline()
"""


@pytest.mark.parametrize(("way", "count"), [("threads", 8), ("submit", 40)])
@pytest.mark.parametrize("scheme", ["ipc", "tcp"])
def test_the_queue_of_a_killed_client_is_empty_while_the_run_before_it_goes_on(
    start_daemon, models, way, count, scheme
) -> None:
    endpoint = free_tcp_endpoint() if scheme == "tcp" else None
    daemon, client = served_sleeper(start_daemon, models, endpoint=endpoint, timeout_ms=600_000)
    # They end with the daemon: nobody has to wait for this run.
    calls = [in_thread(lambda: client.predict("sleeper", sleep_for(500)))]
    wait_until(lambda: daemon.status().running_ms > 0)
    calls += [in_thread(lambda: client.predict("sleeper", sleep_for(0))) for _ in range(3)]
    wait_until(lambda: daemon.status().queued_requests == 3)
    command = [sys.executable, "-c", ASKER, daemon.endpoint, str(sleep_for(0)[0]), way]
    asker = subprocess.Popen(command, env=clean_environment(), stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: daemon.status().queued_requests == 3 + count, 60)
    finally:
        asker.kill()
        asker.communicate()
    wait_until(lambda: daemon.status().queued_requests == 3, 60)
    status = daemon.status()
    assert status.running_ms > 0
    assert status.queued_rows == 3
    assert status.counters["requests_released_total"] == count
    assert status.counters["requests_expired_total"] == status.counters["requests_cancelled_total"] == 0
    if scheme == "ipc":
        wait_until(lambda: f"of pid {asker.pid}" in daemon.log)
    daemon.kill()
    for thread, _ in calls:
        thread.join(60)

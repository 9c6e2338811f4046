"""What a prefork child costs in memory, beside one of a bare Celery worker."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from benchmarks.processes.memory import MIB, average_child
from tests.celery.worker_process import WorkerProcess
from tests.daemon_process import DaemonProcess

pytestmark = [pytest.mark.integration, pytest.mark.redis, pytest.mark.tensorflow]

MOST_EXTRA_BYTES = 12 * MIB


def test_an_idle_child_costs_little_more_than_a_bare_one(
    start_worker: Callable[..., WorkerProcess], daemon: DaemonProcess
) -> None:
    bare = average_child(start_worker(daemon, app="tests.celery.bare_tasks", children=4).process.pid)
    ours = average_child(start_worker(daemon, children=4).process.pid)
    assert ours.pss_bytes - bare.pss_bytes < MOST_EXTRA_BYTES, (ours, bare)
    assert ours.uss_bytes - bare.uss_bytes < MOST_EXTRA_BYTES, (ours, bare)


def test_a_child_that_has_asked_costs_little_more_either(
    start_worker: Callable[..., WorkerProcess], daemon: DaemonProcess, digits
) -> None:
    bare = start_worker(daemon, app="tests.celery.bare_tasks", children=2)
    for result in [bare.send("tests.celery.bare_tasks.nothing") for _ in range(40)]:
        bare.answer(result)
    ours = start_worker(daemon, children=2)
    for result in [ours.predict("mlp", digits[0][:1].tolist()) for _ in range(40)]:
        ours.answer(result)
    extra_bytes = average_child(ours.process.pid).uss_bytes - average_child(bare.process.pid).uss_bytes
    assert extra_bytes < MOST_EXTRA_BYTES

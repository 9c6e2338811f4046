"""While a model takes its time to load, all else is answered; a shutdown meanwhile is told to whoever waits for it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from shutil import copyfile
from typing import Any

import numpy as np
import pytest

import predictd
from tests.daemon_process import DaemonProcess
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

PATIENCE_S = 60.0

#: Imported before the model `slow` is loaded, and not done before the test says so.
GATE = """
import time
from pathlib import Path

while not Path({flag!r}).exists():
    time.sleep(0.01)
"""


class SlowLoad:
    """A daemon that serves `mlp` and has been ordered to load `slow`, which lasts until `end`."""

    def __init__(self, daemon: DaemonProcess, pool: ThreadPoolExecutor) -> None:
        self.daemon = daemon
        self.pool = pool
        self.client = daemon.client(timeout_ms=PATIENCE_S * 1000)
        self.load = self.order(lambda client: client.load("slow"))

    def wait_until_it_has_begun(self) -> None:
        wait_until(lambda: ("slow", "loading") in {(row.name, row.state) for row in self.client.models()})

    def order(self, give: Callable[[predictd.Client], predictd.OrderResult]) -> Future[predictd.OrderResult]:
        """Give an order from a thread of its own."""

        def work() -> predictd.OrderResult:
            with self.daemon.client() as client:
                return give(client)

        return self.pool.submit(work)

    def end(self) -> None:
        """Let the load go on."""
        (self.daemon.directory / "flag").touch()


@pytest.fixture
def slow_load(start_daemon: Callable[..., DaemonProcess], run_directory: Path, models: Path) -> Iterator[SlowLoad]:
    slow = run_directory / "slow"
    slow.mkdir()
    (run_directory / "gate_of_slow.py").write_text(GATE.format(flag=str(run_directory / "flag")))
    config = run_directory / "predictd.toml"
    slow_table = '[models.slow]\npath = "slow"\nmodules = ["gate_of_slow"]\n'
    config.write_text(f'watch_s = 3600\n[models]\nmlp = "{models}/mlp.keras"\n{slow_table}')
    daemon = start_daemon("--config", config)
    (slow / "1").mkdir()
    copyfile(models / "mlp.keras", slow / "1" / "model.keras")
    with ThreadPoolExecutor(4) as pool:
        under_way = SlowLoad(daemon, pool)
        try:
            under_way.wait_until_it_has_begun()
            yield under_way
        finally:
            # Whoever still waits for an answer waits no longer.
            daemon.kill()


def test_all_else_is_answered_while_a_model_is_loaded(slow_load: SlowLoad, digits: tuple[Any, Any]) -> None:
    client, (x, y) = slow_load.client, digits
    np.testing.assert_allclose(client.predict("mlp", x[:1]).outputs, y[:1], rtol=1e-4)
    status = client.status()
    assert status.responsive
    assert [(row.name, row.state) for row in status.models] == [("mlp", "ready"), ("slow", "loading")]
    assert [row.state for row in client.models()] == ["ready", "loading"]
    with pytest.raises(predictd.ModelNotReadyError):
        client.predict("slow", x[:1], timeout_ms=500)
    # What changes which versions are loaded waits for its turn; a label does not.
    unload = slow_load.order(lambda client: client.unload("slow"))
    label = client.label("mlp", "stable", 1, timeout_ms=PATIENCE_S * 1000)
    assert label.done == ("model mlp: the label 'stable' points at version 1",)
    np.testing.assert_allclose(client.predict("mlp", x[:1], version="stable").outputs, y[:1], rtol=1e-4)
    assert not slow_load.load.done()
    assert not unload.done()
    slow_load.end()
    assert slow_load.load.result(PATIENCE_S).models[0].is_ready
    assert "unloaded" in unload.result(PATIENCE_S).done[0]
    assert client.load("slow").models[0].is_ready
    np.testing.assert_allclose(client.predict("slow", x[:1]).outputs, y[:1], rtol=1e-4)
    assert slow_load.daemon.stop() == 0


def test_who_waits_for_a_load_is_told_of_the_shutdown(slow_load: SlowLoad) -> None:
    waiting = slow_load.order(lambda client: client.reload())
    slow_load.daemon.signal(signal.SIGTERM)
    with pytest.raises(predictd.ServerDrainingError, match="this order was not finished"):
        slow_load.load.result(PATIENCE_S)
    # It may have come after the signal: then it was refused, or there was nobody any more.
    error = waiting.exception(PATIENCE_S)
    assert isinstance(error, predictd.ServerDrainingError | predictd.TransportError), error
    assert slow_load.daemon.wait(PATIENCE_S) == 0
    assert "SIGTERM: draining" in slow_load.daemon.log
    assert "stopped: 0 requests answered" in slow_load.daemon.log
    assert "Traceback" not in slow_load.daemon.log

"""A long predict through a real daemon: it survives a crash, and takes no memory that lasts on either side."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import predictd

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(400)]


def peak_bytes(pid: int) -> int:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def test_a_killed_daemon_that_comes_back_costs_no_row(start_daemon, models: Path, digits) -> None:
    x, y = digits
    daemon = start_daemon(models / "mlp.keras")

    def batches() -> Iterator[np.ndarray]:
        for number in range(60):
            if number == 30:
                daemon.signal(signal.SIGKILL)
                daemon.wait()
                daemon.start(wait=False)
            yield x

    with daemon.client(timeout_ms=240_000) as client:
        outputs = predictd.RemoteModel("mlp", client=client).predict(batches())
    np.testing.assert_allclose(outputs, np.tile(y, (60, 1)), rtol=1e-4, atol=1e-6)


def test_the_daemon_holds_a_few_chunks_and_no_more(start_daemon, models: Path) -> None:
    daemon = start_daemon(models / "mlp.keras")
    # 256 MB, of which no more than a few chunks of 16 MiB are anywhere at a time.
    x = np.broadcast_to(np.linspace(0, 1, 64, dtype=np.float32), (1_000_000, 64))
    model = predictd.RemoteModel("mlp", endpoint=daemon.endpoint, timeout_ms=120_000)
    model.predict(x[:5_000])
    before = peak_bytes(daemon.pid)
    assert model.predict(x).shape == (1_000_000, 10)
    assert peak_bytes(daemon.pid) - before < 128 << 20

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


def test_many_rows_neither_shut_others_out_nor_stand_in_their_own_way(start_daemon, models: Path) -> None:
    """With less room in the queue than two chunks have rows, and no repetition that would hide a refusal."""
    daemon = start_daemon(models / "mlp.keras", "--max-queue-rows", 256, "--max-batch-size", 16)
    with daemon.client(retries=None, timeout_ms=120_000) as client:
        one_row = np.ones((1, 64), np.float32)
        under_way = client.submit("mlp", np.ones((200_000, 64), np.float32))
        answered = 0
        while not under_way.done():
            client.predict("mlp", one_row)
            answered += 1
        assert answered
        assert under_way.result().outputs.shape == (200_000, 10)
        model = predictd.RemoteModel("mlp", client=client)
        assert model.predict(np.ones((20_000, 64), np.float32), batch_size=1_000).shape == (20_000, 10)
        assert sum(len(each.outputs) for each in client.map("mlp", [np.ones((500, 64), np.float32)] * 8)) == 4_000

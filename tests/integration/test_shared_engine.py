"""One daemon, several models: answers that are kept, lengths, a slow model beside a fast one, classes of callers."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import predictd
from tests.daemon_process import DaemonProcess, short_directory

pytestmark = [pytest.mark.integration, pytest.mark.tensorflow]

CONFIGURATION = """
fair_run_ms = 20

[models.kept]
path = "{models}/mlp.keras"
cache_bytes = 1000000

[models.sequence]
path = "{models}/sequence.keras"
lengths = [4, 16]
unseen_lengths = "pad"
pad_value = -1.0
max_batch_size = 8

[models.sleeper]
path = "{models}/sleeper"
max_batch_size = 1
max_queue_rows = 2

[models.held]
path = "{models}/sleeper"
max_batch_size = 1

[classes.first]
priority = 1

[classes.later]
weight = 1
"""


@pytest.fixture(scope="module")
def shared(models: Path) -> Iterator[DaemonProcess]:
    with short_directory() as name:
        directory = Path(name)
        file = directory / "predictd.toml"
        file.write_text(CONFIGURATION.format(models=models))
        daemon = DaemonProcess(directory, "--config", str(file))
        daemon.start()
        try:
            yield daemon
        finally:
            daemon.kill()


def test_an_answer_that_was_kept_is_the_same_and_counted(
    shared: DaemonProcess, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    with shared.client() as client:
        first = client.predict("kept", digits[0][:3])
        again = client.predict("kept", digits[0][:3])
        assert again.receipt.closed_by == "cache"
        np.testing.assert_array_equal(first.outputs, again.outputs)
        np.testing.assert_allclose(first.outputs, digits[1][:3], rtol=1e-4, atol=1e-6)
        status = client.status()
    assert status.counters["cache_hits_total"] >= 1
    load = status.loads["kept"]
    assert load["cache_answers"] >= 1
    assert 0 < load["cache_bytes"] <= 1_000_000
    assert load["engine_s"] > 0


def test_sequences_of_different_lengths_come_back_as_long_as_they_were(shared: DaemonProcess) -> None:
    arrays = [np.full((2, length, 4), length, np.float32) for length in (1, 3, 4, 5, 16)]
    with shared.client() as client:
        for array in arrays:
            np.testing.assert_array_equal(client.predict("sequence", array).outputs, array * 2)
        with pytest.raises(predictd.TensorMismatchError, match=r"at most 16; the lengths .* are 4, 16"):
            client.predict("sequence", np.zeros((1, 17, 4), np.float32))
        assert client.status().counters["unseen_shapes_total"] == 0


def test_a_slow_models_full_queue_refuses_nobody_else(
    shared: DaemonProcess, digits: tuple[np.ndarray, np.ndarray]
) -> None:
    sleep = np.array([100.3], np.float32)

    def ask(_: int) -> str:
        with shared.client(retries=None, timeout_ms=60_000) as client:
            try:
                client.predict("sleeper", sleep)
            except predictd.OverloadedError as error:
                return str(error)
        return ""

    with ThreadPoolExecutor(8) as pool, shared.client(retries=None, timeout_ms=60_000) as client:
        asked = [pool.submit(ask, number) for number in range(8)]
        answered = [client.predict("kept", row[None] + 1) for row in digits[0][:10]]
        refused = [text for each in asked if (text := each.result())]
    assert len(answered) == 10
    assert refused
    assert all("the queue of model 'sleeper' is full" in text and "max_queue_rows = 2" in text for text in refused)


def test_callers_with_a_priority_go_first_and_each_class_is_counted(shared: DaemonProcess) -> None:
    row = np.zeros(1, np.float32)
    done: list[str] = []

    def note(caller: str, _: Future[predictd.Prediction]) -> None:
        done.append(caller)

    with shared.client(timeout_ms=60_000) as client:
        before = client.status().counters["unknown_classes_total"]
        # Until all are queued, the engine is held.
        held = client.submit("held", np.array([103.0], np.float32))
        futures = []
        for caller, count in (("later", 3), ("nobody", 2), ("first", 3)):
            for _ in range(count):
                futures.append(client.submit("held", row, caller_class=caller))
                futures[-1].add_done_callback(partial(note, caller))
        receipts = [future.result().receipt for future in (held, *futures)]
        status = client.status()
    assert done[:3] == ["first"] * 3
    assert sorted(done[3:]) == ["later"] * 3 + ["nobody"] * 2
    assert {receipt.batch_rows for receipt in receipts} == {1}
    assert status.counters["unknown_classes_total"] - before == 2
    classes = status.loads["held"]["classes"]
    assert {name: facts["requests"] for name, facts in classes.items()} == {"first": 3, "later": 3, "default": 3}
    assert {name: facts["rows"] for name, facts in classes.items()} == {"first": 3, "later": 3, "default": 3}
    assert all(facts["queued_rows"] == facts["refused"] == 0 for facts in classes.values())
    assert classes["first"]["queue_s"] < classes["later"]["queue_s"]
    assert all(facts["engine_s"] > 0 for facts in classes.values())

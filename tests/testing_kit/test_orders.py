"""The talk with a fake in another process stands whatever the test, its answers and the fake itself do meanwhile."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

import predictd
from predictd.testing import FakeProcess, WrongAnswerError
from tests.testing_kit.conftest import ROWS, doubling

pytestmark = pytest.mark.integration
CLIENT = predictd.Client(retries=None, timeout_ms=60_000)


def noisy(x: Any) -> Any:
    print("{}\nnot an answer to any order")  # noqa: T201
    os.write(1, b'{"number": 1, "said": 77}\n')
    assert not os.read(0, 1)
    return x * 2


def one_row(x: Any) -> Any:
    return x[:1]


def ask(**options: Any) -> Any:
    return CLIENT.predict("double", ROWS, **options).outputs.tolist()


@pytest.fixture
def process() -> Iterator[FakeProcess]:
    with FakeProcess(doubling()) as started:
        yield started


def test_what_an_answer_prints_disturbs_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with FakeProcess(doubling(answer=noisy)) as process:
        for count in (1, 2, 3):
            assert ask() == (ROWS * 2).tolist()
            assert process.request_count() == count
    assert capfd.readouterr().err.count('"said": 77') == 3


def test_a_fault_ends_with_its_block_however_that_ends(process: FakeProcess) -> None:
    with pytest.raises(KeyError), process.fault("refuse", error=predictd.PredictionError):
        raise KeyError
    ask()


def test_a_fault_ends_with_its_own_process_only(process: FakeProcess) -> None:
    with process.fault("delay", ms=1):
        process.restart()
        ask()
    with process.fault("refuse", error=predictd.PredictionError):
        with process.fault("delay", ms=1):
            process.restart()
            inner = process.fault("refuse", error=predictd.InvalidRequestError)
            inner.__enter__()
        with pytest.raises(predictd.InvalidRequestError):
            ask()
    with pytest.raises(predictd.InvalidRequestError):
        ask()
    inner.__exit__(None, None, None)
    ask()


def test_an_answer_that_comes_late_is_nobody_elses(process: FakeProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    ask()
    process.stop()
    with monkeypatch.context() as patch:
        patch.setattr("predictd.testing.fake_process._ANSWER_S", 0.01)
        for model in (None, "other"):
            with pytest.raises(predictd.ConfigError, match=r"says nothing for 0\.01 s: stopped\? Use resume"):
                process.request_count(model)
    process.resume()
    assert (process.request_count("other"), process.request_count()) == (0, 1)


def test_a_fault_that_ends_while_it_is_stopped_is_off_when_it_goes_on(process: FakeProcess) -> None:
    with process.fault("refuse", error=predictd.PredictionError):
        process.stop()
    process.resume()
    process.request_count()
    ask()


def test_orders_to_a_dead_process_say_so(process: FakeProcess) -> None:
    process.kill()
    for order in (process.request_count, process.reset, lambda: process.fault("drop")):
        with pytest.raises(predictd.ConfigError, match=r"is gone \(exit code -9\); use restart\(\)"):
            order()


def test_descriptors_may_be_many(process: FakeProcess) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 4096:
        pytest.skip("too few descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    opened = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
    try:
        process.restart()
        assert process.request_count() == 0
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_an_error_keeps_its_words(process: FakeProcess) -> None:
    error = predictd.OverloadedError("ask my sister", {"retry_after_ms": 7})
    with process.fault("refuse", error=error), pytest.raises(predictd.OverloadedError, match="ask my sister") as caught:
        ask()
    assert caught.value.retry_after_ms == 7
    with (
        pytest.raises(predictd.ConfigError, match="expected one of predictd's errors"),
        process.fault("refuse", error=ValueError),
    ):
        pass
    with pytest.raises(predictd.ConfigError, match="no such switch"), process.fault("clear"):
        pass


@pytest.mark.parametrize("end", ["", "kill", "terminate", "restart"])
def test_a_wrong_answer_is_told_however_it_ends(end: str) -> None:
    def body() -> None:
        with FakeProcess(doubling(answer=one_row)) as process:
            for _ in range(2):
                with pytest.raises(predictd.InternalServerError):
                    ask()
            process.reset()
            if end:
                getattr(process, end)()

    with pytest.raises(WrongAnswerError, match=r"is float32\[1, 4\]; the signature declares"):
        body()


def test_a_wrong_answer_can_be_asked_for() -> None:
    with FakeProcess(doubling(answer=one_row)) as process:
        process.check()
        with pytest.raises(predictd.InternalServerError):
            ask()
        with pytest.raises(WrongAnswerError):
            process.check()


def test_a_wrong_answer_hides_no_error_of_the_test() -> None:
    def body() -> None:
        with FakeProcess(doubling(answer=one_row)):
            with pytest.raises(predictd.InternalServerError):
                ask()
            raise KeyError

    with pytest.raises(KeyError):
        body()

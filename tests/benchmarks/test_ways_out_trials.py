"""The trials of the ways out: what fails leaves the rest; what killed processes used; two ways for real, shortly."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import psutil
import pytest
import redis

from benchmarks.report import machine as machine_module
from benchmarks.report.machine import OtherWork
from benchmarks.ways_out import stand as stand_module
from benchmarks.ways_out import trials
from benchmarks.ways_out.answers import Answers
from benchmarks.ways_out.apps.tasks import CALL, PREDICT
from benchmarks.ways_out.outcome import START, Held, Outcome, Speed, memory_trial
from benchmarks.ways_out.stand import Stand, standing
from benchmarks.ways_out.trials import Measure, Trials, measure
from benchmarks.ways_out.ways import WAYS, Way

FAST = Speed(per_second=100.0, p99_ms=50.0, alone_p99_ms=5.0, asked=200)


class Broken:
    """A stand's trials, of which some fail as the real ones do."""

    ends: ClassVar[dict[str, Exception]] = {}

    def __init__(self, stand: object, answers: Answers, outcome: Outcome, how: Measure) -> None:
        self._outcome, self._slots = outcome, stand

    def try_all(self) -> None:
        self._outcome.speeds[PREDICT] = FAST
        self._end("all")

    def read_memory(self) -> None:
        self._end(f"{self._slots}")
        self._outcome.memory.append(Held(int(f"{self._slots}"), 1.0, 1))

    def _end(self, name: str) -> None:
        if name in self.ends:
            raise self.ends[name]


@contextlib.contextmanager
def stands(way: Way, slots: int, model: Path, others: OtherWork) -> Iterator[int]:
    yield slots


ERRORS: list[tuple[Exception, str]] = [
    (psutil.NoSuchProcess(1), "process no longer exists (pid=1)"),
    (redis.ConnectionError("Connection refused"), "Connection refused"),
    (subprocess.TimeoutExpired(["celery"], 10), "Command '['celery']' timed out after 10 seconds"),
    (RuntimeError("it did not become ready:\nImportError: x\n"), "ImportError: x"),
    (ValueError(), "ValueError"),
]


@pytest.mark.parametrize(("error", "told"), ERRORS, ids=lambda it: type(it).__name__)
def test_what_was_measured_is_kept_when_a_trial_fails(
    error: Exception, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "standing", stands)
    monkeypatch.setattr(trials, "Trials", Broken)
    monkeypatch.setattr(Broken, "ends", {"2": error})
    found = measure(WAYS["init"], Path(), Answers([], np.zeros((0, 0), np.float32)), Measure(sizes=(1, 2, 4)))
    assert found.speeds == {PREDICT: FAST}
    assert [held.slots for held in found.memory] == [1, 4]
    assert found.failures == {memory_trial(2): told}
    assert found.other_cores is not None


def test_a_way_that_does_not_start_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "standing", stands)
    monkeypatch.setattr(trials, "Trials", Broken)
    monkeypatch.setattr(Broken, "ends", {"all": RuntimeError("no module named gevent")})
    found = measure(WAYS["gevent"], Path(), Answers([], np.zeros((0, 0), np.float32)), Measure())
    assert (found.failures, found.memory) == ({START: "no module named gevent"}, [])


class Asked(Trials):
    """Trials of which one fails in the middle."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(SimpleNamespace(log=trials.UP_MESSAGE), None, outcome, Measure())  # type: ignore[arg-type]
        self.outcome = outcome

    def listen(self) -> None:
        pass

    warm_up = overrun = crash = listen

    def measure_speed(self, word: str) -> None:
        if word == PREDICT:
            message = "Connection closed by server."
            raise redis.ConnectionError(message)
        self.outcome.speeds[word] = FAST


def test_a_trial_that_fails_leaves_the_next_ones() -> None:
    outcome = Outcome()
    Asked(outcome).try_all()
    assert outcome.failures == {PREDICT: "Connection closed by server."}
    assert outcome.speeds == {CALL: FAST}
    assert outcome.starts_killed == 1


def test_a_process_that_goes_meanwhile_takes_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    here, gone = SimpleNamespace(pid=os.getpid()), SimpleNamespace(pid=999999999)
    monkeypatch.setattr(stand_module, "_family", lambda pid: [here, gone])
    stand = Stand(WAYS["init"], 1, Path(), "memory://", Path())
    stand._workers[0] = SimpleNamespace(pid=1)  # type: ignore[assignment]
    assert stand.memory_mib() > 1


@pytest.mark.integration
def test_what_killed_children_have_used_is_told() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass\nprint('done', flush=True)\ntime.sleep(600)"
    program = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}])"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "done\n"
        assert stand_module._kill_family(parent) > 0.25
    assert stand_module._kill_family(parent) == 0


def test_what_nobody_has_waited_for_is_not_others_work(monkeypatch: pytest.MonkeyPatch) -> None:
    used_s = iter([10.0, 17.0])
    monkeypatch.setattr(machine_module, "_others_s", lambda: next(used_s))
    others = OtherWork()
    others.leave_out(7.0)
    assert others.cores() == 0


@pytest.fixture(scope="module")
def model(models: Path) -> Path:
    return models / "mlp.keras"


@pytest.fixture(scope="module")
def answers(digits: tuple[np.ndarray, np.ndarray]) -> Answers:
    rows, right = digits
    return Answers([[one] for one in rows[:16].tolist()], right[:16])


@pytest.mark.integration
@pytest.mark.redis
@pytest.mark.tensorflow
@pytest.mark.slow
def test_predictd_answers_and_outlives_its_daemon(redis_url: str, model: Path, answers: Answers) -> None:
    found = measure(WAYS["predictd"], model, answers, Measure(sizes=(), slots=2, seconds=0.3))
    assert found.is_answering
    assert found.failures == {}
    for speed in found.speeds.values():
        assert (speed.failed, speed.unanswered, speed.wrong, speed.workers_died) == (0, 0, 0, 0)
        assert speed.per_second > 0
        assert (speed.alone_failed, speed.alone_asked > 0) == (0, True)
    assert found.limit is not None
    assert found.limit.by == "SoftTimeLimitExceeded"
    assert found.crash is not None
    assert (found.crash.finished, found.crash.workers_left) == (1, 1)
    assert found.crash.back_s is not None


@pytest.mark.integration
@pytest.mark.redis
@pytest.mark.tensorflow
@pytest.mark.slow
def test_a_hang_is_a_result(redis_url: str, model: Path, answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "ANSWER_S", 2.0)
    monkeypatch.setattr(trials, "SETTLED_S", 0.5)
    outcome = Outcome()
    others = OtherWork()
    with standing(WAYS["parent"], 1, model, others) as stand:
        tried = Trials(stand, answers, outcome, Measure())
        tried.listen()
        tried.read_memory()
    # `model(x)` hangs too, but for a run in some.
    assert outcome.silent[PREDICT] == 2.0
    assert outcome.memory[0].mib > 100

"""The lane of Celery's workers: messages that are lost, late, answered twice, or that kill whoever takes them."""

from __future__ import annotations

import re
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import celery
import pytest
from celery.exceptions import BackendStoreError

from predictd_celery.scoring import celery_lane
from predictd_celery.scoring.celery_lane import MOST_RESENDS, SILENCE_S, CeleryLane, Sent
from predictd_celery.scoring.chunk_task import SCORE_CHUNK, SCORE_QUESTION
from predictd_proto.errors import ClaimExpiredError, ConfigError, DeadlineExceededError, ScoreError

NO_BROKER = ScoreError("the broker has been away for 180 s")
AWAY = BackendStoreError("away")
#: A model, as the first question has it.
FIELDS = {"model": "double", "version": 1, "digest": "", "signature": "s", "inputs": [], "outputs": []}


class WorkerLostError(Exception):
    """As a JSON result backend brings Celery's own."""


class Result:
    """A task's result, as the test says."""

    def __init__(self) -> None:
        self.is_ready = self.is_forgotten = False
        self.error: Exception | None = None
        self.value: Any = None

    def ready(self) -> bool:
        return self.is_ready

    def get(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.value

    def forget(self) -> None:
        self.is_forgotten = True

    def end(self, error: Exception | None = None) -> None:
        self.is_ready, self.error = True, error


class Sender:
    """What a lane needs of a Celery app."""

    def __init__(self, **conf: Any) -> None:
        self.sent: list[Result] = []
        self.tasks = {SCORE_CHUNK: self, SCORE_QUESTION: self}
        self.backend = SimpleNamespace(connection_errors=(OSError, KeyError))
        self.conf = {"broker_transport_options": conf}
        queue = SimpleNamespace(name="predictd")
        self.amqp = SimpleNamespace(router=SimpleNamespace(route=lambda *_: {"queue": queue}))

    def connection(self) -> Any:
        return SimpleNamespace(as_uri=lambda: "redis://nowhere")

    def apply_async(self, *_: Any, **__: Any) -> Result:
        self.sent.append(Result())
        return self.sent[-1]


class Work:
    """A chunk on a shared folder."""

    place = "a.npy, rows 5 to 8"
    question = SimpleNamespace(model="double")
    written: Any = None

    def to_fields(self) -> dict[str, Any]:
        return {}

    def answers(self) -> Any:
        return self.written


@pytest.fixture
def sender(monkeypatch: pytest.MonkeyPatch) -> Sender:
    monkeypatch.setattr(celery_lane, "_LISTEN_S", 0.0)
    return Sender(visibility_timeout=20)


@pytest.fixture
def lane(sender: Sender) -> CeleryLane:
    return CeleryLane(sender, shared_folder=True)


@pytest.fixture
def handle(lane: CeleryLane) -> Sent:
    return lane.begin(Work())  # type: ignore[arg-type]


def let_pass(handle: Sent, seconds: float) -> None:
    handle.sent_s -= seconds


def test_what_is_not_heard_of_is_sent_again_but_not_for_ever(sender: Sender, lane: CeleryLane, handle: Sent) -> None:
    let_pass(handle, 29)
    assert not lane.wait([handle])
    assert len(sender.sent) == 1
    for resends in range(1, MOST_RESENDS + 3):
        let_pass(handle, 31)
        assert not lane.wait([handle])
        assert len(sender.sent) == 1 + min(resends, MOST_RESENDS)


@pytest.mark.parametrize("which", [0, 1])
def test_whichever_message_is_answered_first_counts(sender: Sender, lane: CeleryLane, handle: Sent, which: int) -> None:
    let_pass(handle, 31)
    assert not lane.wait([handle])
    sender.sent[which].end()
    assert lane.wait([handle]) == [handle]
    lane.finish(handle)
    assert [one.is_forgotten for one in sender.sent] == [True, True]


def test_a_chunk_that_lies_there_is_not_sent_again(sender: Sender, lane: CeleryLane, handle: Sent) -> None:
    handle.work.written = "answers"  # type: ignore[attr-defined]
    let_pass(handle, 31)
    assert lane.wait([handle]) == [handle]
    lane.finish(handle)
    assert len(sender.sent) == 1


def test_a_silence_of_all_ends_the_run(lane: CeleryLane, handle: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not lane.wait([handle])
    monkeypatch.setattr(lane, "_heard_s", lane._heard_s - SILENCE_S - 1)
    with pytest.raises(ScoreError, match=r"any of 1 chunks for 3600 s, of a\.npy, rows 5 to 8 .*--queues predictd"):
        lane.wait([handle])


LOST = {
    "arrays": (ClaimExpiredError("gone"), ClaimExpiredError, "gone"),
    "answer": (AWAY, ScoreError, r"a\.npy, rows 5 to 8: .*BackendStoreError: away"),
    "answer by a worker without retries": (ConnectionError("away"), ScoreError, "rows 5 to 8: .*ConnectionError: away"),
}


@pytest.mark.parametrize(("loss", "kind", "text"), LOST.values(), ids=LOST)
def test_what_was_lost_is_sent_again_but_not_for_ever(
    sender: Sender, lane: CeleryLane, handle: Sent, loss: Exception, kind: type[Exception], text: str
) -> None:
    for losses in range(1, celery_lane.MOST_LOSSES + 1):
        sender.sent[-1].end(loss)
        assert len(lane.wait([handle])) == (losses == celery_lane.MOST_LOSSES)
    assert len(sender.sent) == celery_lane.MOST_LOSSES
    with pytest.raises(kind, match=text):
        lane.finish(handle)


def test_a_chunk_whose_answer_was_lost_but_that_lies_there_is_done(
    sender: Sender, lane: CeleryLane, handle: Sent
) -> None:
    handle.work.written = "answers"  # type: ignore[attr-defined]
    sender.sent[0].end(AWAY)
    assert lane.wait([handle]) == [handle]
    lane.finish(handle)
    assert len(sender.sent) == 1


def test_a_task_that_met_its_deadline_is_not_sent_again(sender: Sender, lane: CeleryLane, handle: Sent) -> None:
    sender.sent[0].end(DeadlineExceededError("no answer within 5 minutes"))
    assert lane.wait([handle]) == [handle]
    assert len(sender.sent) == 1
    with pytest.raises(DeadlineExceededError):
        lane.finish(handle)


def test_a_loss_is_none_while_another_message_is_under_way(sender: Sender, lane: CeleryLane, handle: Sent) -> None:
    for _ in range(MOST_RESENDS):
        let_pass(handle, 31)
        assert not lane.wait([handle])
    for result in sender.sent[:-1]:
        result.end(AWAY)
    assert not lane.wait([handle])
    assert (len(sender.sent), handle.losses) == (1 + MOST_RESENDS, 0)
    sender.sent[-1].end()
    assert lane.wait([handle]) == [handle]
    lane.finish(handle)


def test_losses_leave_the_sends_bounded(sender: Sender, lane: CeleryLane, handle: Sent) -> None:
    for _ in range(10):
        let_pass(handle, 31)
        assert not lane.wait([handle])
        if len(handle.results) > 1:
            sender.sent[-1].end(AWAY)
            assert not lane.wait([handle])
    assert len(sender.sent) == 1 + MOST_RESENDS


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "unheard"])
def test_a_chunk_that_can_t_be_sent_again_ends_alone(
    sender: Sender, lane: CeleryLane, handle: Sent, monkeypatch: pytest.MonkeyPatch, is_lost: bool
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise NO_BROKER

    other = lane.begin(Work())  # type: ignore[arg-type]
    monkeypatch.setattr(sender, "apply_async", refuse)
    if is_lost:
        sender.sent[0].end(AWAY)
        sender.sent[1].end()
        assert lane.wait([handle, other]) == [handle, other]
        lane.finish(other)
    else:
        let_pass(handle, 31)
        assert lane.wait([handle, other]) == [handle]
    with pytest.raises(ScoreError, match="the broker has been away"):
        lane.finish(handle)


@pytest.mark.parametrize(
    "error",
    [
        WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL)"),
        FileNotFoundError("no such folder"),
        KeyError("rows"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_task_that_fails_by_itself_names_its_rows(
    sender: Sender, lane: CeleryLane, handle: Sent, error: Exception
) -> None:
    sender.sent[0].end(error)
    assert lane.wait([handle]) == [handle]
    assert len(sender.sent) == 1
    with pytest.raises(ScoreError, match=rf"a\.npy, rows 5 to 8: .*{type(error).__name__}: {re.escape(str(error))}"):
        lane.finish(handle)


def test_a_backend_that_is_away_ends_nothing(sender: Sender, lane: CeleryLane, handle: Sent, monkeypatch) -> None:
    def refuse() -> None:
        raise ConnectionError

    monkeypatch.setattr(sender.sent[0], "ready", refuse)
    assert not lane.wait([handle])
    # The answer is there, and the backend away again when it is to be deleted.
    monkeypatch.setattr(sender.sent[0], "ready", lambda: True)
    monkeypatch.setattr(sender.sent[0], "forget", refuse)
    assert lane.wait([handle]) == [handle]
    lane.finish(handle)


def test_a_stop_ends_the_wait_for_the_first_answer(sender: Sender) -> None:
    lane = CeleryLane(sender, shared_folder=True, is_stopping=lambda: True)
    with pytest.raises(ScoreError, match="no worker had answered yet"):
        lane.question("double", None, None, "stop")


def test_a_backend_that_is_away_is_no_end_of_the_first_question(sender: Sender, monkeypatch) -> None:
    looks = iter(range(100))

    def ready(result: Result) -> bool:
        if next(looks) < 3:
            raise ConnectionError
        return True

    def refuse(result: Result) -> None:
        raise ConnectionError

    monkeypatch.setattr(Result, "ready", ready)
    monkeypatch.setattr(Result, "get", lambda _: FIELDS)
    monkeypatch.setattr(Result, "forget", refuse)
    assert CeleryLane(sender, shared_folder=True).question("double", None, None, "stop").model == "double"


@pytest.mark.parametrize("losses", [celery_lane.MOST_LOSSES - 1, celery_lane.MOST_LOSSES])
def test_a_first_answer_that_was_lost_is_asked_for_again_but_not_for_ever(
    sender: Sender, monkeypatch: pytest.MonkeyPatch, losses: int
) -> None:
    def get(result: Result) -> Any:
        if len(sender.sent) <= losses:
            raise AWAY
        return FIELDS

    monkeypatch.setattr(Result, "ready", lambda _: True)
    monkeypatch.setattr(Result, "get", get)
    ends = (
        nullcontext()
        if losses < celery_lane.MOST_LOSSES
        else pytest.raises(ScoreError, match="no worker could store its answer: BackendStoreError: away")
    )
    with ends:
        CeleryLane(sender, shared_folder=True).question("double", None, None, "stop")
    assert len(sender.sent) == celery_lane.MOST_LOSSES
    assert all(result.is_forgotten for result in sender.sent)


def test_an_app_without_a_result_backend_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected one with a result backend"):
        CeleryLane(celery.Celery("mute", set_as_current=False), shared_folder=True)


def test_no_worker_at_all_is_told(sender: Sender, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.setattr(celery_lane, "_TELL_S", -1.0)
    monkeypatch.setattr(celery_lane, "SILENCE_S", 0.001)
    lane = CeleryLane(sender, shared_folder=True)
    with pytest.raises(ScoreError, match=r"no worker answered within .* redis://nowhere: busy or missing; .*--queues"):
        lane.question("double", None, None, "stop")
    assert "no worker has answered for" in caplog.text

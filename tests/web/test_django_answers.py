"""What the Django example's page is told of a task, for every state that Celery has."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from celery import states
from celery.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded

import predictd
from examples.django_digits.answers import shown


def told(state: str, result: Any = None) -> dict[str, Any]:
    return shown("an-id", {"status": state, "result": result})


def test_an_answer_is_shown_with_its_receipt() -> None:
    answer = {"scores": [0.1] * 10, "receipt": {"version": 3}}
    assert told(states.SUCCESS, answer) == {"state": "done", **answer}


@pytest.mark.parametrize(
    ("state", "result", "shown_state", "says"),
    [
        (states.PENDING, None, "queued", "a worker"),
        (states.RECEIVED, None, "queued", "a worker"),
        (states.STARTED, {"pid": 1}, "waiting", "model is asked"),
        (states.RETRY, predictd.ServerUnavailableError("x"), "retrying", "server is away"),
        (states.RETRY, predictd.ServerLostError("x"), "retrying", "server is away"),
        (states.RETRY, predictd.OverloadedError("x"), "retrying", "busy"),
        (states.RETRY, predictd.ModelNotReadyError("x"), "retrying", "being loaded"),
        (states.RETRY, ValueError("of another kind"), "retrying", "server is away"),
        (states.REVOKED, TaskRevokedError("expired"), "failed", "No worker had time"),
        (states.FAILURE, predictd.DeadlineExceededError("x"), "failed", "too long"),
        (states.FAILURE, predictd.ExpiredInQueueError("x"), "failed", "too long"),
        (states.FAILURE, predictd.ServerUnavailableError("x"), "failed", "did not come back"),
        (states.FAILURE, predictd.ModelNotFoundError("secret"), "failed", "site's log"),
        (states.FAILURE, SoftTimeLimitExceeded(10), "failed", "too long"),
        (states.FAILURE, TimeLimitExceeded(15), "failed", "too long"),
        (states.FAILURE, ValueError("secret"), "failed", "site's log"),
        (states.FAILURE, None, "failed", "site's log"),
    ],
)
def test_every_state_has_words(state: str, result: Any, shown_state: str, says: str) -> None:
    got = told(state, result)
    assert got["state"] == shown_state
    assert says in got["message"]
    assert "secret" not in got["message"]


def test_why_it_failed_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        told(states.FAILURE, predictd.ModelNotFoundError("no model 'digits'"))
    assert "task an-id: ModelNotFoundError: no model 'digits'" in caplog.text

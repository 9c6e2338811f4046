"""The control thread's answers: a bug of ours costs one of them, never the thread."""

from __future__ import annotations

import logging

import pytest

from predictd_proto.frames import decode
from predictd_proto.limits import Limits
from predictd_proto.messages import ErrorResponse
from predictd_proto.orders import OrderResponse
from predictd_server.sockets.control import packed


def test_an_orders_answer_that_cant_be_packed_is_a_fault_and_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
    broken = OrderResponse(id=7)
    object.__setattr__(broken, "done", (object(),))
    with caplog.at_level(logging.ERROR):
        told = decode(packed(broken), Limits())
    assert isinstance(told, ErrorResponse)
    assert told.id == 7
    assert told.code == "internal"
    assert "Traceback" in caplog.text


def test_an_orders_answer_is_sent_as_it_is() -> None:
    answer = OrderResponse(id=8, done=("model m version 2: loaded",))
    assert decode(packed(answer), Limits()) == answer

"""The tree of errors is the one its page draws; each error survives pickling, copying and the wire."""

from __future__ import annotations

import builtins
import copy
import json
import pickle
import re
from typing import Any

import numpy as np
import pytest

from predictd_proto import errors
from predictd_proto.errors import (
    ERROR_CLASSES,
    DeadlineExceededError,
    ExpiredInQueueError,
    OverloadedError,
    PredictdError,
    ProtocolError,
    RemoteError,
    RequestTooLargeError,
    RetryableError,
    error_from_code,
)
from predictd_proto.frames import decode, encode
from predictd_proto.limits import MAX_LIST_ITEMS
from predictd_proto.messages import MAX_MESSAGE_TEXT, ErrorResponse

CLASSES = sorted(ERROR_CLASSES.values(), key=lambda cls: cls.__name__)


def drawn_tree() -> dict[str, tuple[str, bool]]:
    """Return class -> (parent, retryable) as the module's docstring draws them."""
    found: dict[str, tuple[str, bool]] = {}
    ancestors: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ( *)(\w+Error\b(?:, \w+Error)*)(\s+\(R\))?", line)
        if not match:
            continue
        depth = len(match[1]) // 2
        for name in match[2].split(", "):
            found[name] = (ancestors[depth - 1] if depth else "", match[3] is not None)
        ancestors[depth:] = [match[2].split(", ")[-1]]
    return found


def actual_tree() -> dict[str, tuple[str, bool]]:
    found: dict[str, tuple[str, bool]] = {}
    for cls in CLASSES:
        parents = [base for base in cls.__bases__ if base in CLASSES]
        found[cls.__name__] = (parents[0].__name__ if parents else "", issubclass(cls, RetryableError))
    return found


def test_the_tree_is_as_drawn() -> None:
    assert actual_tree() == drawn_tree()


def all_subclasses(cls: type[PredictdError]) -> set[type[PredictdError]]:
    return {cls}.union(*(all_subclasses(child) for child in cls.__subclasses__()))


def test_the_table_is_complete_both_ways() -> None:
    here = {cls for cls in all_subclasses(PredictdError) if vars(errors).get(cls.__name__) is cls}
    assert set(ERROR_CLASSES.values()) == here - {RetryableError}
    assert all(cls.code == code for code, cls in ERROR_CLASSES.items())
    assert len(ERROR_CLASSES) == len(here) - 1, "two classes share a code"


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
class TestEachClass:
    def test_has_a_code_of_its_own(self, cls: type[PredictdError]) -> None:
        assert "code" in vars(cls)
        assert re.fullmatch(r"[a-z_]+", cls.code)

    def test_is_named_like_no_builtin(self, cls: type[PredictdError]) -> None:
        assert not hasattr(builtins, cls.__name__)
        assert cls.__name__.endswith("Error")

    def test_says_whether_it_is_retryable(self, cls: type[PredictdError]) -> None:
        assert cls("text").is_retryable is issubclass(cls, RetryableError)

    @pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
    def test_survives_pickling(self, cls: type[PredictdError], protocol: int) -> None:
        error = cls("what, where, ünicode", {"retry_after_ms": 5, "nested": {"a": [1, None]}})
        again = pickle.loads(pickle.dumps(error, protocol))
        assert type(again) is cls
        assert (str(again), again.message, again.detail) == (str(error), error.message, error.detail)
        assert again.args == error.args

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy], ids=["copy", "deepcopy"])
    def test_survives_copying(self, cls: type[PredictdError], copied: object) -> None:
        error = cls("text", {"a": [1]})
        again = copied(error)  # type: ignore[operator]
        assert type(again) is cls
        assert (str(again), again.detail) == ("text", {"a": [1]})
        assert again.detail is not error.detail

    def test_survives_the_wire(self, cls: type[PredictdError]) -> None:
        error = cls("text", {"retry_after_ms": 5})
        message = decode(encode(ErrorResponse.from_error(7, error)))
        assert isinstance(message, ErrorResponse)
        again = message.error()
        assert type(again) is cls
        assert (str(again), again.detail) == ("text", {"retry_after_ms": 5})

    def test_its_text_is_the_message(self, cls: type[PredictdError]) -> None:
        assert str(cls("text")) == "text"
        assert str(cls("text", {"a": 1})) == "text"
        assert repr(cls("text")) == f"{cls.__name__}('text')"


def test_detail_is_the_errors_own() -> None:
    given = {"a": 1}
    error = PredictdError("text", given)
    given["a"] = 2
    assert error.detail == {"a": 1}
    assert PredictdError("text").detail == {}
    assert PredictdError("text", None).detail == {}


def test_deadline_errors_are_timeouts() -> None:
    for cls in (DeadlineExceededError, ExpiredInQueueError):
        error = cls("after 5 s")
        with pytest.raises(TimeoutError, match=r"^after 5 s$"):
            raise error
        assert error.errno is None


def test_an_unknown_code_is_a_remote_error() -> None:
    error = error_from_code("of_a_newer_server", "text", {"a": 1})
    assert type(error) is RemoteError
    assert (str(error), error.detail) == ("text", {"a": 1, "code": "of_a_newer_server"})
    assert not error.is_retryable
    assert error_from_code("of_a_newer_server", "text").detail == {"code": "of_a_newer_server"}


def test_too_large_is_a_request_error_and_no_protocol_error() -> None:
    assert not issubclass(RequestTooLargeError, ProtocolError)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (5.9, 5),
        (0, 0),
        (None, None),
        ("5", None),
        (True, None),
        (-1, None),
        (float("nan"), None),
        (float("inf"), None),
        ([5], None),
    ],
)
def test_retry_after_ms(value: object, expected: int | None) -> None:
    assert OverloadedError("text", {"retry_after_ms": value}).retry_after_ms == expected


def test_retry_after_ms_is_none_when_not_given() -> None:
    assert OverloadedError("text").retry_after_ms is None


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError


class TestReporting:
    """`ErrorResponse.from_error` never fails, or a caller would wait in vain."""

    def test_any_detail_becomes_json(self) -> None:
        itself: list[object] = []
        itself.append(itself)
        detail: dict[Any, Any] = {
            "numpy": np.int64(3),
            "numpy bool": np.bool_(True),
            "tuple": (1, {2}),
            "bytes": b"\xff",
            "huge": 10**5000,
            "array": np.zeros(3),
            "unprintable": Unprintable(),
            "itself": itself,
            "long": "x" * 100_000,
            "surrogate": "\udcff",
            5: "a key that is no text",
            Unprintable(): 1,
            "exception": ValueError("text"),
            "many": list(range(5000)),
            "many keys": {str(number): number for number in range(5000)},
        }
        message = ErrorResponse.from_error(1, PredictdError("text", detail))
        again = decode(encode(message))
        assert again == message
        json.dumps(message.detail)
        assert message.detail["numpy"] == 3
        assert message.detail["numpy bool"] is True
        assert message.detail["tuple"] == [1, [2]]
        assert message.detail["surrogate"] == "?"
        assert message.detail["5"] == "a key that is no text"
        assert message.detail["unprintable"] == "<Unprintable>"
        assert message.detail["<Unprintable>"] == 1
        assert message.detail["exception"] == "text"
        assert len(message.detail["many"]) == len(message.detail["many keys"]) == MAX_LIST_ITEMS

    def test_deep_detail_is_cut(self) -> None:
        deep: object = "x"
        for _ in range(5000):
            deep = {"a": deep}
        message = ErrorResponse.from_error(1, PredictdError("text", {"deep": deep}))
        assert decode(encode(message)) == message

    def test_long_text_is_cut(self) -> None:
        assert len(ErrorResponse.from_error(1, PredictdError("x" * 100_000)).message) == MAX_MESSAGE_TEXT

    def test_text_that_utf8_cant_carry_is_replaced(self) -> None:
        message = ErrorResponse.from_error(None, PredictdError("the file a\udcff\ud800.keras"))
        assert message.message == "the file a??.keras"
        assert decode(encode(message)) == message

"""Every error survives pickling: process pools send them home."""

from __future__ import annotations

import pickle

import pytest

import predictd
from predictd_proto.errors import ERROR_CLASSES


@pytest.mark.parametrize("code", sorted(ERROR_CLASSES))
def test_an_error_survives_pickling(code: str) -> None:
    error = ERROR_CLASSES[code]("what went wrong", {"retry_after_ms": 5})
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert (str(copy), copy.detail, copy.retry_after_ms) == ("what went wrong", {"retry_after_ms": 5}, 5)


def test_every_error_is_public() -> None:
    assert {error.__name__ for error in ERROR_CLASSES.values()} <= set(predictd.__all__)


def test_an_error_shows_by_the_name_that_callers_import() -> None:
    assert repr(predictd.OverloadedError).startswith("<class 'predictd.")
    assert {error.__module__ for error in (*ERROR_CLASSES.values(), predictd.RetryableError)} == {"predictd"}

"""Fixtures of the benchmarks' tests."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture
def no_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that run in the tests' process change nothing of what signals do to it."""
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)

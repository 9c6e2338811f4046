"""The watchdog's diagnosis, with parts and a clock that the test sets."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from predictd_server.watchdog import Watchdog


def watchdog(now: float = 100.0, **changes: Any) -> Watchdog:
    frontend = SimpleNamespace(is_alive=True, beat_s=now)
    engine = SimpleNamespace(is_alive=True, busy_since_s=None)
    control = SimpleNamespace(is_alive=True)
    parts: dict[str, Any] = {"frontend": frontend, "engine": engine, "control": control}
    for name, value in changes.items():
        part, _, attribute = name.partition("__")
        setattr(parts[part], attribute, value)
    return Watchdog(**parts, stuck_after_s=10.0, clock=lambda: now)


def test_all_is_well() -> None:
    assert watchdog().diagnose() is None
    assert watchdog(engine__busy_since_s=95.0).diagnose() is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"frontend__is_alive": False}, "data pump thread has died"),
        ({"engine__is_alive": False}, "engine thread has died"),
        ({"control__is_alive": False}, "control thread has died"),
        ({"engine__busy_since_s": 80.0}, "a run has taken 20 s"),
        ({"frontend__beat_s": 80.0}, "has not turned for 20 s"),
    ],
)
def test_what_is_dead_or_stuck_is_named(change: dict, said: str) -> None:
    diagnosis = watchdog(**change).diagnose()
    assert diagnosis is not None
    assert said in diagnosis


@pytest.mark.parametrize("stuck_after_s", [1.0, 2.0, 10.0])
def test_a_process_that_was_paused_as_a_whole_is_given_its_time_anew(stuck_after_s: float) -> None:
    now = [100.0]
    frontend = SimpleNamespace(is_alive=True, beat_s=100.0)
    engine = SimpleNamespace(is_alive=True, busy_since_s=99.0)
    parts: dict[str, Any] = {"frontend": frontend, "engine": engine, "control": SimpleNamespace(is_alive=True)}
    dog = Watchdog(**parts, stuck_after_s=stuck_after_s, clock=lambda: now[0])
    assert dog.diagnose() is None
    now[0] += 1.2 * stuck_after_s
    assert dog.diagnose() is None
    for _ in range(30):
        now[0] += 0.5
        dog.diagnose()
    assert dog.diagnose() is not None

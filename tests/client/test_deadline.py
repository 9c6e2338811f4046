"""The arithmetic of deadlines, on a clock of the test's own."""

from __future__ import annotations

from predictd.deadline import Deadline
from predictd_proto.quantities import seconds_text


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_a_deadline_counts_down_to_zero_and_stays_there() -> None:
    clock = Clock()
    deadline = Deadline(1500, clock)
    clock.now_s += 1.0
    assert (deadline.remaining_ms, deadline.waited_ms, deadline.is_over) == (500, 1000, False)
    clock.now_s += 1.0
    assert (deadline.remaining_ms, deadline.waited_ms, deadline.is_over) == (0, 2000, True)


def test_a_sooner_deadline_never_is_later() -> None:
    clock = Clock()
    deadline = Deadline(1000, clock)
    assert deadline.sooner(5000).remaining_ms == 1000
    assert deadline.sooner(10).remaining_ms == 10


def test_durations_read_well() -> None:
    assert [seconds_text(value) for value in (0.4, 20, 999, 1000, 61_000)] == [
        "0 ms",
        "20 ms",
        "999 ms",
        "1.0 s",
        "61.0 s",
    ]

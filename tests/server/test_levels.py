"""Strict priorities: the highest goes first, and none is passed over for longer than was set."""

from __future__ import annotations

from math import inf

from hypothesis import given, settings
from hypothesis import strategies as st

from predictd_server.serving.levels import Levels

#: What is lost when times are added up.
ROUNDING_S = 1e-9


def test_the_highest_goes_first_until_another_has_been_passed_over_for_long_enough() -> None:
    levels = Levels(1.0)
    low, high = levels.level(0), levels.level(5)
    leaders = []
    for now in (0.0, 0.5, 1.0, 1.5, 2.0, 2.5):
        leader = levels.first({low, high}, now)
        levels.lead(leader, {low, high}, now)
        leaders.append(leader.priority)
    assert leaders == [5, 5, 0, 5, 5, 0]


def test_who_stops_waiting_was_not_passed_over() -> None:
    levels = Levels(1.0)
    low, high = levels.level(0), levels.level(1)
    levels.lead(high, {low, high}, 0.0)
    levels.lead(high, {high}, 0.5)
    levels.lead(high, {low, high}, 0.6)
    assert levels.first({low, high}, 1.5) is high
    assert levels.first({low, high}, 1.6) is low


def test_a_level_is_made_once_and_none_is_passed_over_by_itself() -> None:
    levels = Levels(0.0)
    assert levels.level(3) is levels.level(3)
    assert len(levels) == 1
    levels.lead(levels.level(3), {levels.level(3)}, 1.0)
    assert levels.level(3).passed_s == inf


@settings(deadline=None, max_examples=200)
@given(
    wait_s=st.floats(0, 2),
    runs=st.lists(st.tuples(st.sets(st.integers(0, 5), min_size=1), st.floats(0.001, 0.5)), max_size=100),
)
def test_nobody_is_passed_over_for_longer_than_the_bound(wait_s: float, runs: list[tuple[set[int], float]]) -> None:
    """`wait_s`, the run that is on then, and one run for each other level that is due."""
    levels = Levels(wait_s)
    passed_s: dict[int, float] = {}
    now, longest_s = 0.0, 0.0
    for waiting, run_s in runs:
        present = {levels.level(priority) for priority in waiting}
        leader = levels.first(present, now)
        levels.lead(leader, present, now)
        longest_s = max(longest_s, run_s)
        for priority in range(6):
            if priority not in waiting or priority == leader.priority:
                passed_s.pop(priority, None)
            elif priority < leader.priority:
                passed_s.setdefault(priority, now)
        now += run_s
        for since_s in passed_s.values():
            assert now - since_s <= wait_s + len(levels) * longest_s + ROUNDING_S

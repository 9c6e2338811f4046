"""Tasks under way at once: refilled by their number, in whichever order they end; no real time passes here."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.loads import task_crowd
from benchmarks.loads.task_crowd import TaskCrowd

NEVER = float("inf")


class Result:
    """Calls back when it has ended."""

    def __init__(self, result: Any) -> None:
        self.result = result
        self.callbacks: list[Callable[[Result], None]] = []

    def then(self, callback: Callable[[Result], None]) -> None:
        self.callbacks.append(callback)

    def successful(self) -> bool:
        return not isinstance(self.result, Exception)


class Workers:
    """Tasks that take what they are told, all side by side, on a clock of their own."""

    def __init__(self, takes_s: Callable[[int], float], answer: Callable[[int], Any] = lambda number: number) -> None:
        self.now_s = 0.0
        self.most_under_way = 0
        self.enqueued = 0
        self._takes_s, self._answer = takes_s, answer
        self._ends: list[tuple[float, int, Result]] = []

    def enqueue(self, number: int) -> Result:
        assert number == self.enqueued
        self.enqueued += 1
        result = Result(self._answer(number))
        heapq.heappush(self._ends, (self.now_s + self._takes_s(number), number, result))
        self.most_under_way = max(self.most_under_way, len(self._ends))
        return result

    def drain(self, *, timeout: float) -> None:
        until_s = self.now_s + timeout
        if self._ends[0][0] > until_s:
            self.now_s = until_s
            return
        self.now_s, _, result = heapq.heappop(self._ends)
        for callback in result.callbacks:
            callback(result)

    def ask(self, in_flight: int, seconds: float, **words: Any) -> TaskCrowd:
        words = {"timeout_s": 5.0, **words}
        return task_crowd.ask(self.enqueue, self.drain, in_flight, seconds, clock=lambda: self.now_s, **words)


def test_a_slow_task_holds_up_no_other() -> None:
    # By the oldest's turn it would be 7 and no more until the slow one ends.
    workers = Workers(lambda number: 4.0 if number == 0 else 0.1)
    crowd = workers.ask(8, 4.0)
    assert len(crowd.took) == workers.enqueued == pytest.approx(1 + 7 * 40, abs=8)
    assert crowd.per_second == pytest.approx(70, rel=0.05)
    assert workers.most_under_way == 8


@settings(max_examples=50, deadline=None)
@given(
    takes_s=st.lists(st.floats(0.01, 2.0), min_size=1, max_size=20),
    fails=st.sets(st.integers(0, 19)),
    in_flight=st.integers(1, 10),
    most=st.integers(1, 30),
)
def test_every_task_is_counted_once(takes_s: list[float], fails: set[int], in_flight: int, most: int) -> None:
    workers = Workers(
        lambda number: takes_s[number % len(takes_s)],
        lambda number: ValueError() if number in fails else number,
    )
    checked: list[tuple[int, int]] = []
    crowd = workers.ask(in_flight, 1.0, most=most, check=lambda number, answer: checked.append((number, answer)))
    assert workers.most_under_way == min(in_flight, most)
    assert min(in_flight, most) <= workers.enqueued == crowd.done <= most
    assert crowd.unanswered == 0
    assert crowd.failed.total() == len(fails & set(range(workers.enqueued)))
    assert set(crowd.failed) <= {"ValueError"}
    assert sorted(checked) == [(number, number) for number in range(workers.enqueued) if number not in fails]
    assert sorted(crowd.took) == pytest.approx(sorted(takes_s[number % len(takes_s)] for number, _ in checked))
    assert crowd.elapsed_s == workers.now_s


def test_no_task_is_enqueued_once_the_time_is_over() -> None:
    workers = Workers(lambda number: 0.3)
    assert workers.ask(1, 1.0).done == 4


def test_silence_ends_it() -> None:
    workers = Workers(lambda number: NEVER if number % 2 else 0.1)
    crowd = workers.ask(4, 1.0)
    # Those that never end take all places in the end.
    assert (crowd.unanswered, workers.most_under_way) == (4, 4)
    assert crowd.done == workers.enqueued - 4
    assert crowd.elapsed_s < workers.now_s == pytest.approx(crowd.elapsed_s + 5.0, abs=2 * task_crowd.POLL_S)


def test_an_answer_that_is_there_already_counts() -> None:
    class Ready(Result):
        def then(self, callback: Callable[[Result], None]) -> None:
            callback(self)

    workers = Workers(lambda number: 0.1)
    crowd = task_crowd.ask(Ready, workers.drain, 2, 1.0, timeout_s=1.0, most=3, clock=lambda: 0.0)
    assert (crowd.done, crowd.unanswered) == (3, 0)

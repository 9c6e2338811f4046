"""The window over chunks, with a lane that ends them in any order and fails as it is told."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_celery.scoring.window import Window
from tests.client.fake_process import with_paths


class ShuffledLane:
    """Ends what is under way in the order of some numbers."""

    patience_s = float("inf")

    def __init__(self, order: list[int], failing: set[int]) -> None:
        self.order, self.failing = order, failing
        self.under_way: list[list[int]] = []
        self.most = 0
        self.kept: list[int] = []

    def begin(self, work: int) -> list[int]:
        handle = [work]
        self.under_way.append(handle)
        self.most = max(self.most, len(self.under_way))
        return handle

    def wait(self, handles: list[list[int]]) -> list[list[int]]:
        assert {id(one) for one in handles} == {id(one) for one in self.under_way}
        number = self.order.pop() if self.order else 1
        if not number:
            return []
        ended = [self.under_way.pop(number % len(self.under_way)) for _ in range(min(number, len(self.under_way)))]
        return ended

    def finish(self, handle: list[int]) -> None:
        if handle[0] in self.failing:
            raise KeyError(handle[0])
        self.kept.append(handle[0])


@given(
    works=st.integers(0, 30),
    size=st.integers(1, 8),
    order=st.lists(st.integers(0, 5)),
    failing=st.sets(st.integers(0, 29), max_size=2),
)
def test_all_are_scored_once_and_no_more_at_once_than_allowed(works, size, order, failing) -> None:
    lane = ShuffledLane(order, failing)
    done: list[int] = []
    failed = None
    try:
        for work in Window(lane, size).run(range(works)):
            done.append(work)
    except KeyError as error:
        failed = error.args[0]
    assert lane.most <= size
    assert not lane.under_way
    # Also what ended after the failure is kept.
    assert done == lane.kept
    assert len(set(done)) == len(done)
    if failed is None:
        assert sorted(done) == list(range(works))
    else:
        assert failed in failing


@given(works=st.integers(0, 30), size=st.integers(1, 8), begun=st.integers(0, 30), order=st.lists(st.integers(0, 5)))
def test_a_stop_begins_nothing_more_and_ends_what_is_under_way(works, size, begun, order) -> None:
    lane = ShuffledLane(order, set())
    left = iter(range(begun))
    done = list(Window(lane, size).run(range(works), lambda: next(left, None) is None))
    assert sorted(done) == list(range(min(works, begun)))


def test_a_chunk_that_can_t_be_begun_lets_the_others_end() -> None:
    lane = ShuffledLane([], set())
    begin = lane.begin

    def refuse(work: int) -> list[int]:
        if work == 2:
            message = "no broker"
            raise ConnectionError(message)
        return begin(work)

    lane.begin = refuse  # type: ignore[method-assign]
    done: list[int] = []
    with pytest.raises(ConnectionError):
        done.extend(Window(lane, 4).run(range(5)))
    assert sorted(lane.kept) == [0, 1]


class SilentLane:
    """Ends nothing; time passes while it is waited for."""

    patience_s = 10.0

    def __init__(self) -> None:
        self.now_s = 0.0
        self.begun: list[int] = []

    def begin(self, work: int) -> int:
        if work < 0:
            message = "no broker"
            raise ConnectionError(message)
        self.begun.append(work)
        return work

    def wait(self, handles: list[int]) -> list[int]:
        assert self.now_s < 1000, handles
        self.now_s += 1
        return []

    def finish(self, handle: int) -> None:
        raise AssertionError(handle)


@pytest.mark.parametrize("stopped_s", [0.5, 100])
def test_a_stop_does_not_wait_for_ever_for_what_is_never_heard_of(stopped_s: float) -> None:
    lane = SilentLane()
    assert not list(Window(lane, 2, lambda: lane.now_s).run(range(9), lambda: lane.now_s > stopped_s))
    assert lane.begun == [0, 1]
    # Patience once until it is asked whether to stop, and once more for what is under way.
    assert stopped_s + lane.patience_s < lane.now_s < stopped_s + 3 * (lane.patience_s + 1)


def test_nor_does_an_error() -> None:
    lane = SilentLane()
    with pytest.raises(ConnectionError):
        list(Window(lane, 3, lambda: lane.now_s).run([1, -1, 2]))
    assert lane.begun == [1]


def test_without_a_stop_it_waits_on() -> None:
    lane = SilentLane()
    with pytest.raises(AssertionError):
        list(Window(lane, 2, lambda: lane.now_s).run([1]))
    assert lane.now_s == 1000


def test_without_a_broker_celery_is_not_imported() -> None:
    program = (
        "import sys; from predictd_celery import score; import predictd_celery.scoring.cli; "
        "sys.exit(str(sorted({'celery', 'kombu', 'pyarrow', 'PIL'} & set(sys.modules))) if "
        "{'celery', 'kombu', 'pyarrow', 'PIL'} & set(sys.modules) else 0)"
    )
    ran = subprocess.run([sys.executable, "-c", program], env=with_paths(), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr

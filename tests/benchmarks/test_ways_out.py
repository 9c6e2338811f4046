"""The table of the ways out: what is stored is what the page shows, every cell in words, nothing left out unsaid."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.ways_out import page
from benchmarks.ways_out.apps.tasks import CALL, PREDICT
from benchmarks.ways_out.outcome import (
    CRASHING,
    LIMIT,
    SIZES,
    START,
    Crash,
    Held,
    Limit,
    Outcome,
    Outcomes,
    Speed,
    memory_trial,
    outcomes_from_json,
)
from benchmarks.ways_out.table import COLUMNS, row, table
from benchmarks.ways_out.ways import WAYS

#: Values that survive being kept with a few digits.
VALUES = st.integers(1, 999).map(float)
COUNTS = st.integers(0, 99)
TEXTS = st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=10)
SPEEDS = st.builds(Speed, VALUES, VALUES, VALUES, COUNTS, COUNTS, COUNTS, COUNTS, COUNTS, TEXTS, COUNTS, COUNTS)
CRASHES = st.builds(Crash, COUNTS, COUNTS, COUNTS, COUNTS, st.none() | VALUES, VALUES)
OUTCOMES = st.builds(
    Outcome,
    silent=st.dictionaries(st.sampled_from([PREDICT, CALL]), VALUES),
    speeds=st.dictionaries(st.sampled_from([PREDICT, CALL]), SPEEDS),
    memory=st.lists(st.builds(Held, COUNTS, VALUES, COUNTS), max_size=4),
    limit=st.none() | st.builds(Limit, TEXTS, VALUES),
    crash=st.none() | CRASHES,
    starts_killed=COUNTS,
    failures=st.dictionaries(st.sampled_from([START, LIMIT, memory_trial(8)]), TEXTS),
    other_cores=st.none() | VALUES,
    seconds=VALUES,
)
ALL = st.builds(Outcomes, st.dictionaries(TEXTS, TEXTS), st.dictionaries(st.sampled_from(list(WAYS)), OUTCOMES))

few = settings(max_examples=50, deadline=None)


@few
@given(ALL)
def test_json_is_read_as_it_was_written(outcomes: Outcomes) -> None:
    assert outcomes_from_json(outcomes.as_json()) == outcomes


@few
@given(ALL)
def test_every_way_has_a_row_with_every_cell(outcomes: Outcomes) -> None:
    lines = [line for line in table(outcomes).splitlines() if line.startswith("|")]
    assert len(lines) == 2 + len(outcomes.ways)
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 1}


FAST = Speed(per_second=100.0, p99_ms=50.0, alone_p99_ms=5.0, asked=200)


@pytest.mark.parametrize(
    ("outcome", "column", "told"),
    [
        (Outcome(silent={PREDICT: 20.0}), "does it answer?", "**no: it hangs**, no answer and no error in 20 s"),
        (Outcome(silent={PREDICT: 90.0}, starts_killed=9), "does it answer?", "Celery killed children 9 times"),
        (Outcome(speeds={PREDICT: FAST}), "does it answer?", "yes"),
        (Outcome(speeds={PREDICT: replace(FAST, wrong=3)}), "does it answer?", "**3 answers were wrong**"),
        (
            Outcome(speeds={PREDICT: replace(FAST, per_second=0.0, failed=9, error="RuntimeError", workers_died=1)}),
            "does it answer?",
            "one task at a time; several at a time: **9 of 200 tasks failed** (RuntimeError), the worker died",
        ),
        (
            Outcome(speeds={PREDICT: replace(FAST, alone_asked=9, alone_failed=2, error="OSError")}),
            "does it answer?",
            "**2 of 9 tasks failed** one at a time (OSError)",
        ),
        (Outcome(speeds={PREDICT: FAST}), "p99, ms", "5.00 / 50.00"),
        (Outcome(speeds={PREDICT: replace(FAST, alone_asked=100)}), "p99, ms", "5.00 / 50.00"),
        (Outcome(speeds={PREDICT: replace(FAST, alone_asked=43)}), "p99, ms", "5.00 (43 tasks) / 50.00"),
        (Outcome(silent={CALL: 20.0}, speeds={PREDICT: FAST}), "tasks/s with `model(x)`", "hangs (20 s)"),
        (Outcome(memory=[Held(1, 700.4, 1), Held(2, 1400.0, 1)]), "MiB with", "700 / 1,400 (1 of 2 up) / - / -"),
        (Outcome(limit=Limit("SoftTimeLimitExceeded", 2.0)), "soft limit", "raised in the task after 2.0 s"),
        (Outcome(limit=Limit("TimeLimitExceeded", 5.0)), "soft limit", "**not heard**; killed by the hard limit"),
        (Outcome(limit=Limit("nobody", 10.0)), "soft limit", "**not heard**, nor is the hard limit"),
        (Outcome(crash=Crash(3, 0, 0, 1, None)), "a crash", "0 of 3 other tasks finish; the worker is gone"),
        (Outcome(crash=Crash(3, 3, 1, 1, 4.0)), "a crash", "3 of 3 other tasks finish; answers again after 4.0 s"),
        (Outcome(crash=Crash(3, 3, 1, 1, None, 41.2)), "a crash", "finish; no new task is answered in 41 s"),
        (Outcome(crash=Crash(3, 3, 3, 4, None, 0.1)), "a crash", "3 of 3 other tasks finish; 1 of 4 workers is gone"),
        (Outcome(failures={START: "ImportError: x"}), "does it answer?", "the worker does not start: ImportError: x"),
    ],
)
def test_what_a_way_showed_is_told(outcome: Outcome, column: str, told: str) -> None:
    (cell,) = [cell for name, cell in zip(COLUMNS, row("first", outcome), strict=True) if name.startswith(column)]
    assert told in cell


def test_the_page_shows_its_json() -> None:
    text = page.PAGE.read_text()
    assert page.with_table(text, page.stored()) == text, "run python -m benchmarks.ways_out.page"


def test_the_page_has_the_ways_in_order() -> None:
    stored = page.stored()
    assert list(stored.ways) == [name for name in WAYS if name in stored.ways]


def test_every_way_is_on_the_page_with_all_that_it_has_to_show() -> None:
    """What is missing has its reason; it fails until `make ways-out ARGS=--page` has measured all of it."""
    ways = page.stored().ways
    assert list(ways) == list(WAYS)
    for name, way in ways.items():
        told = set(way.failures)
        assert START not in told, name
        sizes = {held.slots for held in way.memory}
        assert sizes | {size for size in SIZES if memory_trial(size) in told} == set(SIZES), name
        assert not sizes & {size for size in SIZES if memory_trial(size) in told}, name
        for word in (PREDICT, CALL):
            assert word in way.speeds or word in told | set(way.silent) or not way.is_answering, (name, word)
        for word, speed in way.speeds.items():
            assert speed.alone_asked > 0, (name, word)
            assert speed.asked > 0 or word in told, (name, word)
        assert way.limit is not None or LIMIT in told, name
        assert way.crash is not None or CRASHING in told, name
        assert way.other_cores is not None, name


def test_what_was_not_measured_is_told() -> None:
    told = table(Outcomes({"system": "Linux"}, {"threads": Outcome(seconds=2.0, other_cores=0.5)}))
    assert "Measured on: system Linux. Others used 0.5 to 0.5 cores meanwhile. Loads of 2 s: threads." in told
    assert "Trials that failed" not in told
    assert "Not measured there: prefork, the model loaded in the parent," in told


def test_what_failed_and_where_nobody_looked_is_told() -> None:
    ways = {
        "solo": Outcome(other_cores=0.1),
        "threads": Outcome(failures={memory_trial(8): "process no longer exists"}),
    }
    told = table(Outcomes({"system": "Linux"}, ways))
    assert "Others used 0.1 to 0.1 cores meanwhile, but for threads, where nobody looked." in told
    assert "Trials that failed: threads, memory with 8 (process no longer exists)." in told

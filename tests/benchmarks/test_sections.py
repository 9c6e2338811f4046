"""The benchmark runs: each section takes its turns once, shortly, and returns all its figures. None is judged here."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import workloads
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found
from benchmarks.sections import (
    celery_memory,
    client,
    idle,
    imports,
    many_rows,
    mixture,
    reload,
    scoring,
    through_celery,
    workload,
)
from benchmarks.sections.stage import Run, Stage, stage
from tests.daemon_process import short_directory

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.tensorflow]

RUN = Run(
    rounds=1,
    seconds=0.05,
    most_callers=8,
    batches=(1, 2),
    fewest_calls=2,
    fewest_answers=10,
    lone_callers=2,
    loads_a_round=1,
    imports_a_round=1,
    many_rows=4096,
)
#: B and D take the same way as E, and their models and that of C longer.
WORKLOADS = [workloads.A, workloads.E]


@pytest.fixture(scope="module")
def there() -> Iterator[Stage]:
    # One daemon for all, warmed for two sizes: to start a stage for each would take minutes.
    with stage(WORKLOADS, RUN, "--max-batch-size", "2", lone_callers=True) as made:
        yield made


def check(found: Found, *, is_positive: bool = True) -> None:
    whats = [figure.what for figure in found.figures]
    assert len(set(whats)) == len(whats) > 0
    for figure in found.figures:
        assert figure.rounds or figure.beside, figure
        assert all(math.isfinite(value) and (value > 0 or not is_positive) for value in figure.rounds), figure
    for load in found.loads:
        assert all(value > 0 for value in (*load.per_second, *load.p50_us, *load.p99_us, *load.client_cpu_us)), load
    for limit in found.limits:
        assert all(value > 0 for value in limit.rows_per_s), limit
    for process in found.processes:
        assert process.rss_mib >= process.pss_mib >= process.uss_mib > 1, process


def goals(figures: list[Figure]) -> list[str]:
    return [figure.goal for figure in figures if figure.goal]


def test_a(there: Stage) -> None:
    found = workload.a_on(there, RUN)
    check(found)
    assert goals(found.figures) == [">= 0.9", ">= 0.9", ">= 5", "<= 1", "<= 1", ">= 100", "<= 2", "<= 5"]
    assert {row.callers for row in found.loads} == {"1", "2", "8", "50 %", "80 %", "95 %"}
    assert all(bool(row.offered_per_second) == ("%" in row.callers) for row in found.loads)


def test_c(there: Stage) -> None:
    found = workload.c_on(replace(there, lone_callers=None), replace(RUN, most_callers=1), workloads.A)
    check(found)
    assert goals(found.figures) == ["<= 1.5", "<= 5"]


def test_e_has_no_frozen_graph(there: Stage) -> None:
    found = workload.batched_on(there, workloads.E, RUN, "E", ">= 0.95")
    check(found)
    assert goals(found.figures) == [">= 0.95", "<= 5"]
    assert "session callable, frozen graph" not in {row.way for row in found.limits}


def test_f(there: Stage) -> None:
    found = many_rows.f_on(there, RUN)
    check(found)
    assert goals(found.figures) == [">= 1"]


def test_g_with_another_large_model(there: Stage) -> None:
    found = mixture.g_on(there, RUN, workloads.E)
    check(found)
    assert goals(found.figures) == ["<= 1"]


@pytest.mark.redis
def test_celery(there: Stage, redis_url: str) -> None:
    found = through_celery.celery_on(there.directory, there.served, RUN)
    # What is above an empty task may be nothing in so short a turn.
    check(found, is_positive=False)
    assert goals(found.figures) == ["<= 1", ">= 0.8"]
    assert {row.way for row in found.loads} == {*through_celery.WORDS.values(), through_celery.DIRECT}


@pytest.mark.redis
def test_memory_of_children(there: Stage, redis_url: str) -> None:
    with short_directory() as name:
        file = Path(shutil.copy(there.file(workloads.A), name))
        figure, processes = celery_memory.measured(file, rounds=1, children=2)
    check(Found([figure], processes=processes))
    assert figure.goal == "<= 1.05"
    assert [row.what.split(": ")[1].split(" beside")[0] for row in processes] == [
        *("daemon", "worker's parent, ours", "2 children, ours, together"),
        *("script", "worker's parent, bare", "2 children, bare, together"),
    ]
    # The parents are part of what is compared.
    ours, bare = (sum(row.pss_mib for row in side) for side in (processes[:3], processes[3:]))
    assert figure.rounds[0] == pytest.approx(ours / bare)


@pytest.mark.redis
def test_scoring(there: Stage, redis_url: str) -> None:
    found = scoring.scoring_on(there.directory, there.served, RUN)
    check(found)
    assert goals(found.figures) == [scoring.GOAL] * len(scoring.CHUNK_ROWS)
    assert all(figure.rounds for figure in found.figures)
    assert len(found.figures) == 3 * len(scoring.CHUNK_ROWS)


def test_idle(there: Stage) -> None:
    found = idle.idle_on(there.served, RUN)
    # A window this short may pass without a tick.
    check(found, is_positive=False)
    assert goals(found.figures) == ["<= 0.5"] * 4


def test_a_way_of_asking(there: Stage) -> None:
    # Each row has processes for its way and its bare loops; test_loads.py runs the other ways without.
    row = next(row for row in client.ROWS if "tasks" in row.what)
    figures = client.measured(there.served.endpoint, RUN, [row])
    check(Found(figures))
    assert goals(figures) == [client.GOAL]


def test_imports() -> None:
    check(imports.imports(RUN))


def test_reload(there: Stage) -> None:
    figures = list(reload.measured(there.served.endpoint, there.file(workloads.A), "4 callers, 400 requests/s", RUN))
    assert goals(figures) == ["<= 2", "<= 0"]
    assert figures[-1].rounds == (0.0,)

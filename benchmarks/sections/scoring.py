"""Section scoring: a file scored from this machine, against `RemoteModel.predict` of the same chunks without a file.

A run has several chunks under way, in threads. The goal's other side is one call after the other, as a script writes
it; beside it are as many calls side by side, and the same run through a Celery worker, with its rows in messages.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from benchmarks import workloads
from benchmarks.processes.celery_worker import prefork_worker, redis_server
from benchmarks.processes.daemon import Daemon, clean_environment, daemon
from benchmarks.processes.running import conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, Rounds, median, process_rows
from benchmarks.sections.measured import ratios
from benchmarks.sections.stage import Run, model_file, models_made
from predictd_celery.scoring.run import DEFAULT_CHUNK_ROWS, DEFAULT_WINDOW

#: Of the rows of section F, so that a turn is about a second.
PART = 4
#: The default, and what a fast model likes better.
CHUNK_ROWS = (DEFAULT_CHUNK_ROWS, 8192)
GOAL = ">= 0.9"
SCORE, PREDICT, BESIDE, CELERY = "score", "predict", "beside", "celery"
CHILDREN = 2

#: Rows per second by way and chunk, round by round.
_Rates = dict[tuple[str, int], Rounds]


def scoring(run: Run) -> Found:
    """Bulk scoring of a file against `RemoteModel.predict` of the same chunks."""
    with models_made([workloads.A], run) as directory:
        run.say("starting the daemon")
        with daemon(directory, [model_file(directory, workloads.A)]) as served:
            return scoring_on(directory, served, run)


def scoring_on(directory: Path, served: Daemon, run: Run) -> Found:
    """Measure where a daemon runs already."""
    folder = directory / "scoring"
    folder.mkdir()
    count = run.many_rows // PART
    ways = [SCORE, PREDICT, BESIDE]
    missing = ""
    with contextlib.ExitStack() as stack:
        environment = clean_environment()
        try:
            environment["PREDICTD_BROKER_URL"] = stack.enter_context(_worker(folder, served))
            ways.append(CELERY)
        except RuntimeError as error:
            missing = str(error).strip().splitlines()[-1]
        module = "benchmarks.loads.scoring_process"
        process = stack.enter_context(conversation(module, served.endpoint, count, folder, env=environment))

        def take(way: str, chunk_rows: int) -> float:
            return float(process.ask({"way": way, "chunk_rows": chunk_rows})["rows_per_s"])

        turns = [(way, chunk_rows) for chunk_rows in CHUNK_ROWS for way in ways]
        # Uncounted: children and connections come with the first chunks.
        for turn in turns:
            take(*turn)
        found: _Rates = dict.fromkeys(turns, ())
        for number in run.numbers():
            for turn in turns if number % 2 == 0 else turns[::-1]:
                found[turn] = (*found[turn], take(*turn))
        processes = process_rows([("scoring: its process", process.pid)])
    figures = [figure for chunk_rows in CHUNK_ROWS for figure in _figures(found, chunk_rows, count, missing)]
    return Found(figures, processes=processes)


@contextlib.contextmanager
def _worker(folder: Path, served: Daemon) -> Iterator[str]:
    """Run a worker of the ready app; gives its broker's URL."""
    with (
        redis_server(folder) as broker_url,
        prefork_worker(folder, broker_url, served.endpoint, children=CHILDREN, app="predictd_celery"),
    ):
        yield broker_url


def _figures(found: _Rates, chunk_rows: int, count: int, missing: str) -> Iterator[Figure]:
    ours = found[SCORE, chunk_rows]
    for way, words, goal in (
        (PREDICT, "RemoteModel.predict of the same chunks, one after the other", GOAL),
        (BESIDE, f"the same, {DEFAULT_WINDOW} side by side", ""),
    ):
        other = found[way, chunk_rows]
        yield Figure(
            f"scoring: rows/s in chunks of {chunk_rows}, {DEFAULT_WINDOW} under way / {words}",
            ratios(ours, other),
            goal=goal,
            beside=f"{count:,} rows: scored {median(ours):,.0f}/s, predicted {median(other):,.0f}/s",
        )
    through = found.get((CELERY, chunk_rows), ())
    what = f"scoring: rows/s in chunks of {chunk_rows} through Celery, {CHILDREN} children, rows in messages / without"
    if not through:
        yield Figure(what, (), beside=missing)
        return
    beside = f"{count:,} rows: {median(through):,.0f}/s through Celery, {median(ours):,.0f}/s without"
    yield Figure(what, ratios(through, ours), beside=beside)

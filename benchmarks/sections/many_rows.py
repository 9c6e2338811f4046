"""Section F: 10^6 rows of A through `RemoteModel.predict` in one call, against Keras' own at its best batch size."""

from __future__ import annotations

from collections.abc import Callable

from benchmarks import workloads
from benchmarks.processes.running import Conversation, conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, LimitRow, median, process_rows
from benchmarks.sections.measured import ratios
from benchmarks.sections.stage import Run, Stage, stage

#: Batch sizes that Keras' own predict is tried with, on a part of the rows.
BATCH_SIZES = (256, 1024, 4096, 16384, 65536)
TRIED_PART = 4


def f(run: Run) -> Found:
    """F: very many rows in one call of `RemoteModel.predict`."""
    with stage([workloads.A], run) as there:
        return f_on(there, run)


def f_on(there: Stage, run: Run) -> Found:
    """Measure F where everything runs already."""
    with conversation("benchmarks.loads.many_rows_process", there.served.endpoint, run.many_rows) as remote:
        run.say("finding Keras' best batch size")
        part = run.many_rows // TRIED_PART
        sizes = [*(size for size in BATCH_SIZES if size < part), part]
        tried = {size: _rows_per_s(there.models, part, size) for size in sizes}
        best = max(tried, key=lambda size: tried[size])
        # All rows at once of the part that was tried are all rows at once of the whole.
        size = run.many_rows if best == part else best
        turns: dict[str, Callable[[], dict[str, float]]] = {
            "keras": lambda: {"rows_per_s": _rows_per_s(there.models, run.many_rows, size)},
            "ours": lambda: remote.ask({}),
        }
        # Once uncounted: memory that a process has had before is faster.
        for turn in turns.values():
            turn()
        found: dict[str, list[dict[str, float]]] = {name: [] for name in turns}
        for number in run.numbers():
            for name in list(turns) if number % 2 == 0 else list(turns)[::-1]:
                found[name].append(turns[name]())
        processes = process_rows([("F: daemon", there.served.pid), ("F: RemoteModel's process", remote.pid)])
    keras, ours = (tuple(float(one["rows_per_s"]) for one in found[name]) for name in turns)
    what = "in-process model.predict at its best batch size"
    bare = f"Keras {median(keras):,.0f}/s with batch_size={_size(size, run.many_rows)}"
    figures = [
        Figure(f"F: rows/s / {what}", ratios(ours, keras), goal=">= 1", beside=f"ours {median(ours):,.0f}/s, {bare}"),
        Figure("F: client's processor time per row", tuple(float(one["cpu_us"]) for one in found["ours"]), unit="us"),
    ]
    limits = [
        LimitRow("F: rows of A", f"model.predict, batch_size={_size(size, part)}", part, (), (rate,))
        for size, rate in tried.items()
    ]
    return Found(figures, [], limits, processes)


def _size(size: int, rows: int) -> str:
    return "all rows" if size == rows else str(size)


def _rows_per_s(local: Conversation, rows: int, batch_size: int) -> float:
    return float(local.ask({"model": workloads.A.name, "all_rows": rows, "batch_size": batch_size})["rows_per_s"])

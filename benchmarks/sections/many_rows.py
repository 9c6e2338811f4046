"""Section F: 10^6 rows of A through `RemoteModel.predict` in one call, against Keras' own at its best batch size."""

from __future__ import annotations

from benchmarks import workloads
from benchmarks.processes.running import Conversation, conversation
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, LimitRow, median, process_rows
from benchmarks.sections.measured import ratios
from benchmarks.sections.stage import Run, Stage, stage

#: Batch sizes that Keras' own predict is tried with, on a part of the rows.
BATCH_SIZES = (256, 1024, 4096, 16384)
TRIED_PART = 8


def f(run: Run) -> Found:
    """F: very many rows in one call of `RemoteModel.predict`."""
    with stage([workloads.A], run) as there:
        return f_on(there, run)


def f_on(there: Stage, run: Run) -> Found:
    """Measure F where everything runs already."""
    local = there.models
    with conversation("benchmarks.loads.many_rows_process", there.served.endpoint, run.many_rows) as remote:
        run.say("finding Keras' best batch size")
        tried = {size: _rows_per_s(local, run.many_rows // TRIED_PART, size) for size in BATCH_SIZES}
        best = max(tried, key=lambda size: tried[size])
        # Once uncounted: memory that a process has had before is faster.
        _rows_per_s(local, run.many_rows, best)
        remote.ask({})
        ours, keras, cpu = [], [], []
        for _ in run.numbers():
            keras.append(_rows_per_s(local, run.many_rows, best))
            told = remote.ask({})
            ours.append(float(told["rows_per_s"]))
            cpu.append(float(told["cpu_us"]))
        processes = process_rows([("F: daemon", there.served.pid), ("F: RemoteModel's process", remote.pid)])
    figures = [
        Figure(
            "F: rows/s / in-process model.predict at its best batch size",
            ratios(tuple(ours), tuple(keras)),
            goal=">= 1",
            beside=f"ours {median(ours):,.0f}/s, Keras {median(keras):,.0f}/s with batch_size={best}",
        ),
        Figure("F: client's processor time per row", tuple(cpu), unit="us"),
    ]
    limits = [
        LimitRow("F: rows of A", f"model.predict, batch_size={size}", run.many_rows // TRIED_PART, (), (rate,))
        for size, rate in tried.items()
    ]
    return Found(figures, [], limits, processes)


def _rows_per_s(local: Conversation, rows: int, batch_size: int) -> float:
    return float(local.ask({"model": workloads.A.name, "all_rows": rows, "batch_size": batch_size})["rows_per_s"])

"""Sections A to E: one workload through the daemon, against the model in process and the bare road.

Owns which ratios are figures, and their goals. Turns are in `turns.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks import workloads
from benchmarks.loads.load import Load
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, median, process_rows
from benchmarks.sections.measured import (
    BESIDE,
    CLIENT,
    CONCRETE,
    CONCRETE_BESIDE,
    ECHO,
    LONE_CLIENT,
    LONE_ECHO,
    MEMCPY,
    OPEN,
    PREDICT,
    REMOTE_MODEL,
    SESSION,
    TASKS,
    WIRE,
    WORDS,
    Measured,
    ratios,
)
from benchmarks.sections.stage import Run, Stage, stage
from benchmarks.sections.turns import JUDGED_SHARE, SHARES, WorkloadTurns
from benchmarks.workloads import Workload


def a(run: Run) -> Found:
    """A: one row of a tiny MLP (64-128-10)."""
    with stage([workloads.A], run, lone_callers=True) as there:
        return a_on(there, run)


def a_on(there: Stage, run: Run) -> Found:
    """Measure A where everything runs already."""
    turns, measured = _measured(there, workloads.A, run, "A")
    crowds = [count for count in (8, turns.crowd) if count <= turns.crowd]
    figures = [
        figure
        for callers in sorted(set(crowds))
        for figure in (
            _rate(measured, f"A, {callers} callers, ready-made frames", WIRE, ECHO, callers, ">= 0.9"),
            _rate(measured, f"A, {callers} callers, Client.predict", CLIENT, ECHO, callers, ">= 0.9"),
        )
    ]
    crowd = turns.crowd
    batch_1 = measured.rows_per_s(CONCRETE_BESIDE, 1)
    figures += [
        Figure(
            f"A, {crowd} callers: throughput / in-process batch-1 rate",
            ratios(measured.rates(CLIENT, crowd), batch_1),
            goal=">= 5",
            beside=f"concrete function {median(batch_1):,.0f}/s",
        ),
        _p50(measured, "A, 1 caller: p50 / p50 of the in-process concrete function", CONCRETE, "<= 1"),
        _p50(measured, "A, 1 caller: p50 / p50 of the in-process session callable", SESSION),
        Figure(
            "A, 1 caller: p50 / (in-process concrete function + bare echo)",
            tuple(
                ours / (model + road)
                for ours, model, road in zip(
                    measured.p50s(CLIENT, 1), measured.p50s(CONCRETE, 1), measured.p50s(ECHO, 1), strict=True
                )
            ),
            goal="<= 1",
            beside=_times(measured, (CLIENT, 1), (CONCRETE, 1), (ECHO, 1)),
        ),
        Figure(
            "A, one row: model.predict in process / RemoteModel.predict",
            ratios(measured.p50s(PREDICT, 1), measured.p50s(REMOTE_MODEL, 1)),
            goal=">= 100",
            beside=_times(measured, (PREDICT, 1), (REMOTE_MODEL, 1)),
        ),
        _server_cpu(measured, "A, ready-made frames", WIRE, crowd, "<= 2"),
        _server_cpu(measured, "A, Client.predict", CLIENT, crowd),
    ]
    figures.append(_rate(measured, f"A, {crowd} callers as tasks of an AsyncClient a process", TASKS, ECHO, crowd))
    if there.lone_callers:
        count = len(there.lone_callers.members)
        figures.append(_rate(measured, f"A, {count} callers in {count} processes", LONE_CLIENT, LONE_ECHO, count))
    return _found(there, measured, [*figures, *_common(measured, "A", crowd)])


def b(run: Run) -> Found:
    """B: one row of a small CNN, about 2 ms a row."""
    return _batched(workloads.B, run, "B", ">= 0.95")


def c(run: Run) -> Found:
    """C: one 12 MB image, a model that reads it once."""
    with stage([workloads.C], run) as there:
        return c_on(there, run)


def c_on(there: Stage, run: Run, workload: Workload = workloads.C) -> Found:
    """Measure C, or another workload as C is measured, where everything runs already."""
    turns, measured = _measured(there, workload, run, "C")
    figures = [
        Figure(
            "C, 1 caller: p50 / (in-process p50 + 2 memcpy of the tensor)",
            tuple(
                ours / (model + 2 * copy)
                for ours, model, copy in zip(
                    measured.p50s(CLIENT, 1), measured.p50s(CONCRETE, 1), measured.p50s(MEMCPY, 1), strict=True
                )
            ),
            goal="<= 1.5",
            beside=_times(measured, (CLIENT, 1), (CONCRETE, 1), (MEMCPY, 1), (ECHO, 1)),
        )
    ]
    return _found(there, measured, [*figures, *_common(measured, "C", turns.crowd)])


def d(run: Run) -> Found:
    """D: one row of MobileNetV2 at 96x96, random weights."""
    return _batched(workloads.D, run, "D", ">= 1.1")


def e(run: Run) -> Found:
    """E: one string through TextVectorization and an embedding."""
    return _batched(workloads.E, run, "E", "")


def _batched(workload: Workload, run: Run, name: str, goal: str) -> Found:
    with stage([workload], run, lone_callers=workload is workloads.D) as there:
        return batched_on(there, workload, run, name, goal)


def batched_on(there: Stage, workload: Workload, run: Run, name: str, goal: str) -> Found:
    """Measure a workload whose limit is the model at its best batch, where everything runs already."""
    turns, measured = _measured(there, workload, run, name)
    crowd = turns.crowd
    limit = measured.rows_per_s(CONCRETE_BESIDE, measured.beside(CONCRETE))
    figures = [
        Figure(
            f"{name}, {crowd} callers: throughput / best batched rate of the in-process concrete function",
            ratios(measured.rates(CLIENT, crowd), limit),
            goal=goal,
            beside=f"ours {median(measured.rates(CLIENT, crowd)):,.0f}/s, {_best(measured)}",
        ),
        _p50(measured, f"{name}, 1 caller: p50 / p50 of the in-process concrete function", CONCRETE),
    ]
    if there.lone_callers:
        count = len(there.lone_callers.members)
        lone = measured.rates(LONE_CLIENT, count)
        figures.append(
            Figure(
                f"{name}, {count} callers in {count} processes: throughput / the same batched rate",
                ratios(lone, limit),
                beside=f"ours {median(lone):,.0f}/s",
            )
        )
    return _found(there, measured, [*figures, *_common(measured, name, crowd)])


def _measured(there: Stage, workload: Workload, run: Run, name: str) -> tuple[WorkloadTurns, Measured]:
    turns = WorkloadTurns(there, workload, run, f"{name}: {workload.title}")
    return turns, turns.measure()


def _common(measured: Measured, name: str, crowd: int) -> Iterator[Figure]:
    """Yield what is asked of every workload."""
    for share in SHARES:
        rounds = measured.loads[OPEN, share]
        # Where the machine got slower after the capacity was measured, times only tell how long the window was.
        loads = [load for load in rounds if not load.is_overloaded] or rounds
        left_out = len(rounds) - len(loads)
        yield Figure(
            f"{name}, open loop at {share} % of capacity: p99 / p50",
            tuple(load.p99_us / load.p50_us for load in loads),
            goal="<= 5" if share == JUDGED_SHARE else "",
            beside=(
                f"p50 {median(load.p50_us for load in loads) / 1000:.2f} ms, p99 "
                f"{median(load.p99_us for load in loads) / 1000:.2f} ms at "
                f"{median(load.per_second for load in loads):,.0f}/s of "
                f"{median(load.offered_per_second for load in loads):,.0f}/s asked for, "
                f"{min(load.answers for load in loads):,} answers a round or more"
                f"{_overloaded(loads, left_out)}"
            ),
        )
    clients = measured.loads[CLIENT, crowd]
    yield Figure(
        f"{name}, {crowd} callers: client's processor time per request",
        tuple(load.client_cpu_us for load in clients),
        unit="us",
        beside=f"bare DEALER's {median(load.client_cpu_us for load in measured.loads[ECHO, crowd]):.0f} us",
    )
    if name != "A":
        # The model's own work is most of it: no ratio to an echo says anything.
        yield Figure(
            f"{name}, {crowd} callers: server's processor time per request",
            tuple(load.server_cpu_us for load in clients),
            unit="us",
            beside=f"bare echo's {median(load.server_cpu_us for load in measured.loads[ECHO, crowd]):.0f} us",
        )


def _overloaded(loads: Sequence[Load], left_out: int) -> str:
    if left_out:
        return f"; {left_out} overloaded rounds left out"
    return "; every round overloaded" if all(load.is_overloaded for load in loads) else ""


def _found(there: Stage, measured: Measured, figures: list[Figure]) -> Found:
    members = enumerate(there.crew.members, start=1)
    pids = [
        (f"{measured.title}: daemon", there.served.pid),
        (f"{measured.title}: model in process, every way of running it", there.models.pid),
        (f"{measured.title}: bare echo", there.echo.pid),
        *((f"{measured.title}: callers' process {number}", member.pid) for number, member in members),
    ]
    return Found(figures, measured.load_rows(), measured.limit_rows(), process_rows(pids))


def _rate(measured: Measured, what: str, ours: str, limit: str, callers: int, goal: str = "") -> Figure:
    mine, bare = measured.rates(ours, callers), measured.rates(limit, callers)
    return Figure(
        f"{what}: throughput / bare echo's",
        ratios(mine, bare),
        goal=goal,
        beside=(
            f"ours {median(mine):,.0f}/s ({_cpu(measured, ours, callers)}), "
            f"echo {median(bare):,.0f}/s ({_cpu(measured, limit, callers)})"
        ),
    )


def _cpu(measured: Measured, way: str, callers: int) -> str:
    """Tell who uses the cores: two of them do no more requests than two seconds by what both sides take."""
    loads = measured.loads[way, callers]
    client, server = (median(getattr(load, name) for load in loads) for name in ("client_cpu_us", "server_cpu_us"))
    return f"CPU of client {client:.0f} + server {server:.0f} us"


def _p50(measured: Measured, what: str, limit: str, goal: str = "") -> Figure:
    if limit in measured.missing:
        return Figure(what, (), goal=goal, beside=measured.missing[limit])
    found = ratios(measured.p50s(CLIENT, 1), measured.p50s(limit, 1))
    return Figure(what, found, goal=goal, beside=_times(measured, (CLIENT, 1), (limit, 1)))


def _server_cpu(measured: Measured, what: str, ours: str, callers: int, goal: str = "") -> Figure:
    mine = tuple(load.server_cpu_us for load in measured.loads[ours, callers])
    bare = tuple(load.server_cpu_us for load in measured.loads[ECHO, callers])
    return Figure(
        f"{what}, {callers} callers: server's processor time per request / bare echo's",
        ratios(mine, bare),
        goal=goal,
        beside=f"ours {median(mine):.1f} us, echo {median(bare):.1f} us",
    )


def _times(measured: Measured, *keys: tuple[str, int]) -> str:
    return ", ".join(f"{WORDS[way]} {_duration(median(measured.p50s(way, count)))}" for way, count in keys)


def _duration(us: float) -> str:
    return f"{us / 1000:.2f} ms" if us >= 1000 else f"{us:.0f} us"


def _best(measured: Measured) -> str:
    told = []
    for way in BESIDE:
        if way not in measured.missing:
            rows = measured.beside(way)
            told.append(f"{WORDS[way]} {median(measured.rows_per_s(BESIDE[way], rows)):,.0f}/s at batch {rows}")
    return ", ".join(told)

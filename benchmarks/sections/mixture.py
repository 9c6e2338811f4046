"""Section G: callers of A beside callers of D in one daemon: a small model must not wait for a large one's crowd."""

from __future__ import annotations

from dataclasses import replace

from benchmarks import workloads
from benchmarks.loads import calls
from benchmarks.loads.load import Load
from benchmarks.report.figures import Figure
from benchmarks.report.found import Found, load_row, median, process_rows
from benchmarks.sections.stage import Run, Stage, stage
from benchmarks.workloads import Workload

#: Callers of either model.
CALLERS = 8
TURN = 2.0
#: No turn is longer, however few answers A gets beside D.
MOST_S = 10.0


def g(run: Run) -> Found:
    """G: 8 callers of A beside 8 callers of D."""
    with stage([workloads.A, workloads.D], run, local=[]) as there:
        return g_on(there, run)


def g_on(there: Stage, run: Run, large_model: Workload = workloads.D) -> Found:
    """Measure G where everything runs already."""
    small = there.target(calls.CLIENT, workloads.A)
    large = there.target(calls.RECEIPTS, large_model)
    seconds = run.seconds * TURN
    run.say("warming up")
    (mixed, _), _ = there.crew.beside([small, large], CALLERS, seconds / 4)
    seconds = max(seconds, min(run.fewest_answers / mixed.per_second, MOST_S))
    alone: list[Load] = []
    beside: list[Load] = []
    crowd: list[Load] = []
    batch_us: list[float] = []

    # One process each in all of them, so that the callers of A are the same in company and without.
    def small_alone() -> None:
        alone.append(there.crew.alone(small, CALLERS, seconds)[0])

    def together() -> None:
        (of_a, _), (of_d, _) = there.crew.beside([small, large], CALLERS, seconds)
        beside.append(of_a)
        crowd.append(of_d)

    def large_alone() -> None:
        # A batch beside A takes longer: the goal would get easier the more A is in the way.
        batch_us.append(median(there.crew.alone(large, CALLERS, run.seconds * TURN)[1].execute_ms) * 1000)

    turns = (small_alone, together, large_alone)
    for number in run.numbers():
        for turn in turns if number % 2 == 0 else turns[::-1]:
            turn()
    figures = [
        Figure(
            "G: p99 of A beside D / (the time of one D batch + 3 x p99 of A alone)",
            tuple(
                mixed.p99_us / (one_us + 3 * own.p99_us)
                for mixed, one_us, own in zip(beside, batch_us, alone, strict=True)
            ),
            goal="<= 1",
            beside=(
                f"p99 of A {median(load.p99_us for load in beside) / 1000:.1f} ms beside D, "
                f"{median(load.p99_us for load in alone) / 1000:.1f} ms alone; "
                f"a D batch {median(batch_us) / 1000:.0f} ms alone"
            ),
        )
    ]
    rows = [
        load_row("G: A alone", str(CALLERS), "Client.predict", alone),
        # What the daemon used for both can't be told apart.
        replace(load_row("G: A beside D", str(CALLERS), "Client.predict", beside), server_cpu_us=()),
        replace(load_row("G: D beside A", str(CALLERS), "Client.predict", crowd), server_cpu_us=()),
    ]
    return Found(figures, rows, [], process_rows([("G: daemon with A and D", there.served.pid)]))

"""The demo's figures as tables that fit 80 columns.

Owns how they look. It measures nothing and prints nothing: each function returns something for a rich console. Any
thread.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from benchmarks.processes.memory import MIB, Memory
from examples.digits.scoring import Agreement, Timing

#: Wide enough for the longest name, narrow enough for three columns of figures in 80.
NAME_WIDTH = 40
BAR_WIDTH = 40


def answers(agreement: Agreement) -> RenderableType:
    """Return how the answers compare with the truth and with the network's own."""
    table = _table("predictd", "Keras itself")
    shares = [f"{count / agreement.digits:.2%}" for count in (agreement.correct, agreement.correct_locally)]
    table.add_row(f" accuracy on {agreement.digits} digits it never saw", *shares)
    table.add_row(" the digit that Keras itself gives", f"{agreement.same} of {agreement.digits}", "")
    table.add_row(" largest difference of any score", f"{agreement.largest_difference:.0e}", "")
    differing = agreement.digits - agreement.same
    verdict = Text(f" {differing} digits differ.", style="bold red") if differing else Text("")
    return Group(_title("Answers"), table, verdict)


def speed(timings: Mapping[str, Timing]) -> RenderableType:
    """Return rates and latencies, one row each."""
    table = _table("tasks/s", "p50 ms", "p99 ms")
    for name, timing in timings.items():
        rate = f"{timing.per_second:,.0f}" if timing.elapsed_s else ""
        percentiles = [f"{timing.percentile_ms(p):,.1f}" if timing.each_ms else "" for p in (50, 99)]
        table.add_row(name, rate, *percentiles)
    return Group(_title("Speed"), table, "")


def batches(rows: Counter[int]) -> RenderableType:
    """Return how many requests went through the graph together, as bars."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column(" batch", justify="right")
    table.add_column("digits", justify="right")
    table.add_column("", no_wrap=True)
    most = max(rows.values())
    for size, count in sorted(rows.items()):
        bar = "█" * round(BAR_WIDTH * count / most) or "▏"
        table.add_row(f" {size} row{'s' if size > 1 else ''}", f"{count}", Text(bar, style="cyan"))
    return Group(_title("Batches, put together from what the children ask at the same time"), table, "")


def memory(ours: Mapping[str, Memory], theirs: Mapping[str, Memory]) -> RenderableType:
    """Return what both ways take, part by part.

    Args:
        ours: With predictd.
        theirs: With a model in each child; empty where that was not tried.
    """
    table = _table("predictd", *(["a model per child"] if theirs else []))
    both = [ours, theirs] if theirs else [ours]
    for name in dict.fromkeys((*ours, *theirs)):
        table.add_row(name, *(_mebibytes(way[name]) if name in way else "-" for way in both))
    table.add_section()
    table.add_row(" together", *(_mebibytes(total(way)) for way in both), style="bold")
    return Group(_title("Memory, each shared page split among its users (PSS)"), table, "")


def total(parts: Mapping[str, Memory]) -> Memory:
    """Return the memory of all parts together."""
    return sum(parts.values(), Memory())


def _title(text: str) -> Text:
    return Text(f" {text}", style="bold")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("", no_wrap=True, min_width=NAME_WIDTH)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _mebibytes(memory_: Memory) -> str:
    return f"{memory_.pss_bytes / MIB:,.0f} MiB"

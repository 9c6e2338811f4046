"""Figures: what was measured, its limit, the goal, and whether it holds.

Owns the record of one line of the report and its three forms: terminal table, Markdown, JSON.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """One line of the report.

    Attributes:
        what: What was measured, in words.
        rounds: The figure of each round; empty where it could not be measured here, and `beside` says why.
        unit: Its unit; "x" for a ratio.
        goal: "<=" or ">=" and a number; empty for a figure that is only shown.
        beside: The limits that the same rounds measured, in words.
    """

    what: str
    rounds: tuple[float, ...]
    unit: str = "x"
    goal: str = ""
    beside: str = ""

    @property
    def median(self) -> float | None:
        """The median of all rounds; None when there are none."""
        return statistics.median(self.rounds) if self.rounds else None

    @property
    def is_met(self) -> bool | None:
        """Whether the median meets the goal; None when there is no goal or no figure."""
        median = self.median
        if not self.goal or median is None:
            return None
        sign, number = self.goal.split()
        return median <= float(number) if sign == "<=" else median >= float(number)

    @property
    def texts(self) -> tuple[str, str]:
        """The median with its unit and the spread, as they are shown."""
        if self.median is None:
            return "-", "-"
        return f"{_number(self.median)} {self.unit}", f"{_number(min(self.rounds))}-{_number(max(self.rounds))}"


_MARKS = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}


def show(title: str, figures: Sequence[Figure], console: Console) -> None:
    """Print figures as a table."""
    table = Table(title=title, title_justify="left", title_style="bold", expand=False, pad_edge=False)
    table.add_column("what")
    table.add_column("median", justify="right")
    table.add_column("spread", justify="right")
    table.add_column("goal", justify="right")
    table.add_column("", justify="left")
    table.add_column("measured beside it", style="dim")
    for figure in figures:
        median, spread = figure.texts
        table.add_row(figure.what, median, spread, figure.goal, _MARKS[figure.is_met], figure.beside)
    console.print(table)


def markdown(figures: Sequence[Figure]) -> str:
    """Return figures as a Markdown table."""
    lines = ["| what | median | spread | goal | | measured beside it |", "|---|---|---|---|---|---|"]
    words = {True: "met", False: "missed", None: ""}
    for item in figures:
        median, spread = item.texts
        lines.append(f"| {item.what} | {median} | {spread} | {item.goal} | {words[item.is_met]} | {item.beside} |")
    return "\n".join(lines) + "\n"


def as_json(figures: Sequence[Figure]) -> str:
    """Return figures as JSON."""
    return json.dumps([{**asdict(item), "median": item.median, "is_met": item.is_met} for item in figures], indent=2)


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"

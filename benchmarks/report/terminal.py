"""A section's figures on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.report.figures import Figure

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

"""Plots of a report, as PNG: goals, throughput and latency by callers, the model's own rate by batch.

Owns what is drawn. Medians are lines, spreads are bars. Reads a report and nothing else.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks.report.figures import Figure
from benchmarks.report.found import LoadRow, Rounds
from benchmarks.report.report import Report

mpl.use("Agg")

from matplotlib import pyplot

DPI = 110
COLUMNS = 2


def draw(report: Report, directory: Path) -> list[Path]:
    """Draw what a report has data for; return the files."""
    drawn = [
        _goals([figure for figure in report.figures() if figure.goal and figure.rounds], directory / "goals.png"),
        _by_callers(report, "per_second", "answers/s", directory / "throughput.png"),
        _by_callers(report, "p50_us", "median time of a call, us", directory / "latency.png"),
        _by_callers(report, "p99_us", "p99 of a call, us", directory / "p99.png"),
        _by_batch(report, directory / "batches.png"),
    ]
    return [path for path in drawn if path is not None]


def _goals(figures: Sequence[Figure], path: Path) -> Path | None:
    """Draw each figure by its goal: right of the line is better, whichever way the goal points."""
    if not figures:
        return None
    figure, axes = pyplot.subplots(figsize=(11, 0.35 * len(figures) + 1.2), layout="constrained")
    for place, one in enumerate(reversed(figures)):
        shares = sorted(_share(one, value) for value in one.rounds)
        colour = "tab:green" if one.is_met else "tab:red"
        axes.barh(place, statistics.median(shares), color=colour, alpha=0.6)
        axes.plot([shares[0], shares[-1]], [place, place], color="black", linewidth=1)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(figures)), [one.what for one in reversed(figures)], fontsize=7)
    axes.set_xlabel("times as good as the goal; the line is the goal")
    return _saved(figure, path)


def _share(figure: Figure, value: float) -> float:
    least = 1e-3
    goal = max(figure.goal_number, least)
    return max(value, least) / goal if figure.goal.startswith(">=") else goal / max(value, least)


def _by_callers(report: Report, name: str, label: str, path: Path) -> Path | None:
    def series(rows: Sequence[LoadRow]) -> dict[str, list[tuple[float, Rounds]]]:
        lines: dict[str, list[tuple[float, Rounds]]] = {}
        for row in rows:
            if row.callers.isdecimal():
                lines.setdefault(row.way, []).append((float(row.callers), getattr(row, name)))
        return {way: points for way, points in lines.items() if len(points) > 1}

    return _panels({one.title: series(one.found.loads) for one in report.sections.values()}, "callers", label, path)


def _by_batch(report: Report, path: Path) -> Path | None:
    panels: dict[str, dict[str, list[tuple[float, Rounds]]]] = {}
    for section in report.sections.values():
        lines = panels.setdefault(section.title, {})
        for row in section.found.limits:
            lines.setdefault(row.way, []).append((float(row.rows), row.rows_per_s))
    kept = {title: {way: line for way, line in lines.items() if len(line) > 1} for title, lines in panels.items()}
    return _panels(kept, "rows in a batch, in process", "rows/s", path)


def _panels(
    panels: dict[str, dict[str, list[tuple[float, Rounds]]]], x_label: str, y_label: str, path: Path
) -> Path | None:
    shown = {title: lines for title, lines in panels.items() if lines}
    if not shown:
        return None
    rows = -(-len(shown) // COLUMNS)
    figure, grid = pyplot.subplots(rows, COLUMNS, figsize=(12, 3.6 * rows), layout="constrained", squeeze=False)
    for axes, (title, lines) in zip(grid.flat, shown.items(), strict=False):
        for way, points in lines.items():
            _line(axes.errorbar, way, points)
        axes.set(title=title, xlabel=x_label, ylabel=y_label)
        axes.set_xscale("log")
        axes.set_xticks(sorted({x for points in lines.values() for x, _ in points}))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
        axes.set_yscale("log")
        axes.grid(visible=True, alpha=0.3)
        axes.legend(fontsize=7)
    for axes in list(grid.flat)[len(shown) :]:
        axes.set_visible(False)
    return _saved(figure, path)


def _line(errorbar: Callable[..., object], way: str, points: Sequence[tuple[float, Rounds]]) -> None:
    middles = [statistics.median(rounds) for _, rounds in points]
    below = [middle - min(rounds) for middle, (_, rounds) in zip(middles, points, strict=True)]
    above = [max(rounds) - middle for middle, (_, rounds) in zip(middles, points, strict=True)]
    errorbar([x for x, _ in points], middles, yerr=[below, above], label=way, marker="o", markersize=3, capsize=2)


def _saved(figure: Any, path: Path) -> Path:
    figure.savefig(path, dpi=DPI)
    pyplot.close(figure)
    return path

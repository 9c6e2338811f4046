"""Plots: throughput and latency against batch size, for a terminal and as SVG.

Owns the drawing. Pure; any thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

_BAR = 36
_HUNDRED = 100
_WIDTH, _HEIGHT, _MARGIN = 720, 400, 64
_THROUGHPUT, _LATENCY = "#1f6fb4", "#c2571a"


def terminal_plot(durations_s: Mapping[int, float], chosen: int | None) -> str:
    """Return bars of rows per second, a line for each batch size, with the latency of a full batch.

    Args:
        durations_s: Seconds of a run by rows.
        chosen: The largest size that was chosen; marked.
    """
    best = max(rows / seconds for rows, seconds in durations_s.items())
    lines = [f"{'rows':>6}  {'rows/s':>9}  {'ms/batch':>9}"]
    for rows, seconds in sorted(durations_s.items()):
        bar = "#" * max(round(_BAR * rows / seconds / best), 1)
        mark = "  <" if rows == chosen else ""
        lines.append(f"{rows:>6}  {rows / seconds:>9,.0f}  {seconds * 1000:>9.2f}  {bar}{mark}")
    return "\n".join(lines)


def svg_plot(title: str, durations_s: Mapping[int, float], chosen: int | None) -> str:
    """Return a drawing of throughput and latency against batch size, the sizes and the latency logarithmic.

    Args:
        title: What stands above it.
        durations_s: Seconds of a run by rows.
        chosen: The largest size that was chosen; marked by a line.
    """
    sizes = sorted(durations_s)
    rates = {rows: rows / durations_s[rows] for rows in sizes}
    top = max(rates.values())
    low, high = math.log(min(durations_s.values())), math.log(max(durations_s.values()))

    def x(rows: int) -> float:
        span = math.log2(sizes[-1]) or 1.0
        return _MARGIN + (_WIDTH - 2 * _MARGIN) * math.log2(rows) / span

    def y(part: float) -> float:
        return _HEIGHT - _MARGIN - (_HEIGHT - 2 * _MARGIN) * part

    rate_points = [(x(rows), y(rates[rows] / top)) for rows in sizes]
    time_points = [(x(rows), y((math.log(durations_s[rows]) - low) / ((high - low) or 1.0))) for rows in sizes]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>',
        f'<text x="{_WIDTH / 2}" y="24" text-anchor="middle" font-size="15">{escape(title)}</text>',
        f'<path d="M{_MARGIN},{_MARGIN} V{_HEIGHT - _MARGIN} H{_WIDTH - _MARGIN} V{_MARGIN}" fill="none" '
        'stroke="#888"/>',
        *[_text(x(rows), _HEIGHT - _MARGIN + 18, f"{rows}", "middle") for rows in sizes],
        _text(_WIDTH / 2, _HEIGHT - 16, "rows in a batch", "middle"),
        *[_text(_MARGIN - 6, y(part) + 4, _short(top * part), "end", _THROUGHPUT) for part in (0.0, 0.5, 1.0)],
        _text(_MARGIN, _MARGIN - 12, "rows/s", "middle", _THROUGHPUT),
        *[
            _text(
                _WIDTH - _MARGIN + 6, y(part) + 4, _short(1000 * math.exp(low + part * (high - low))), "start", _LATENCY
            )
            for part in (0.0, 0.5, 1.0)
        ],
        _text(_WIDTH - _MARGIN, _MARGIN - 12, "ms/batch", "middle", _LATENCY),
        _line(rate_points, _THROUGHPUT),
        _line(time_points, _LATENCY),
    ]
    if chosen is not None:
        parts.append(
            f'<path d="M{x(chosen):.1f},{_MARGIN} V{_HEIGHT - _MARGIN}" stroke="#444" stroke-dasharray="4 4"/>'
        )
    return "\n".join([*parts, "</svg>", ""])


def _line(points: list[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>{dots}'


def _text(x: float, y: float, text: str, anchor: str, colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= _HUNDRED else f"{value:.3g}"

"""Digits as a hand draws them: strokes for each digit in several styles, with the differences between hands.

Owns the shapes and how they differ from hand to hand; a hand is a number, and the same number draws the same. The model
learns from some hands; others try it. Any thread.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Stroke = NDArray[np.float64]
_Points = list[tuple[float, float]]

#: Points of one line or arc.
_STEPS = 12


def _line(*corners: tuple[float, float]) -> _Points:
    points: _Points = []
    for (x0, y0), (x1, y1) in pairwise(corners):
        points += [(x0 + (x1 - x0) * i / _STEPS, y0 + (y1 - y0) * i / _STEPS) for i in range(_STEPS + 1)]
    return points


def _arc(x: float, y: float, width: float, height: float, begin: float, end: float) -> _Points:
    """Part of an ellipse; degrees, clockwise as one sees it, from the right."""
    angles = [math.radians(begin + (end - begin) * i / (2 * _STEPS)) for i in range(2 * _STEPS + 1)]
    return [(x + width * math.cos(angle), y + height * math.sin(angle)) for angle in angles]


#: Digit -> its styles, each a list of strokes in a box 1 high, y downwards.
STYLES: dict[int, list[list[_Points]]] = {
    0: [[_arc(0.3, 0.5, 0.3, 0.5, -90, 270)], [_arc(0.4, 0.5, 0.4, 0.5, -60, 310)]],
    1: [
        [_line((0.0, 0.0), (0.0, 1.0))],
        [_line((0.0, 0.28), (0.25, 0.0), (0.25, 1.0))],
        [_line((0.0, 0.25), (0.25, 0.0), (0.25, 1.0)), _line((0.0, 1.0), (0.5, 1.0))],
    ],
    2: [
        [_arc(0.3, 0.27, 0.3, 0.27, 190, 390) + _line((0.55, 0.42), (0.0, 1.0), (0.62, 1.0))],
        [_arc(0.3, 0.25, 0.28, 0.25, 200, 400) + _line((0.5, 0.45), (0.05, 0.95), (0.3, 0.92), (0.65, 0.98))],
    ],
    3: [
        [_arc(0.25, 0.25, 0.28, 0.25, 200, 450) + _arc(0.25, 0.75, 0.32, 0.25, -90, 160)],
        [_line((0.05, 0.0), (0.55, 0.0), (0.25, 0.42)) + _arc(0.25, 0.71, 0.32, 0.29, -90, 150)],
    ],
    4: [
        [_line((0.4, 0.0), (0.0, 0.65), (0.65, 0.65)), _line((0.45, 0.35), (0.45, 1.0))],
        [_line((0.05, 0.0), (0.0, 0.5), (0.55, 0.5)), _line((0.5, 0.0), (0.5, 1.0))],
    ],
    5: [
        [_line((0.55, 0.0), (0.1, 0.0), (0.05, 0.42)) + _arc(0.25, 0.68, 0.33, 0.32, -130, 140)],
        [_line((0.1, 0.0), (0.06, 0.42)) + _arc(0.25, 0.68, 0.33, 0.32, -130, 140), _line((0.1, 0.0), (0.6, 0.0))],
    ],
    6: [
        [_line((0.45, 0.0), (0.1, 0.4)) + _arc(0.28, 0.7, 0.28, 0.3, 180, 540)],
        [_arc(0.6, 0.62, 0.58, 0.62, 260, 180) + _arc(0.3, 0.72, 0.28, 0.28, 180, 530)],
    ],
    7: [
        [_line((0.0, 0.0), (0.6, 0.0), (0.2, 1.0))],
        [_line((0.0, 0.02), (0.6, 0.0), (0.2, 1.0)), _line((0.15, 0.5), (0.6, 0.5))],
    ],
    8: [
        [_arc(0.3, 0.25, 0.23, 0.25, 90, 450) + _arc(0.3, 0.75, 0.3, 0.25, -90, 270)],
        [
            _arc(0.3, 0.25, 0.25, 0.25, -30, -270)
            + _arc(0.3, 0.75, 0.28, 0.25, -90, 270)
            + _arc(0.3, 0.25, 0.25, 0.25, 90, -30)
        ],
    ],
    9: [
        [_arc(0.3, 0.27, 0.27, 0.27, 0, -360) + _line((0.57, 0.27), (0.52, 1.0))],
        [_arc(0.3, 0.27, 0.27, 0.27, -20, -380) + _arc(0.1, 0.45, 0.47, 0.55, -10, 80)],
    ],
}


def written(digit: int, style: int, hand: int, size: float = 280.0) -> list[Stroke]:
    """Return a digit as one hand draws it: slanted, stretched, turned, unsteady, somewhere on the sheet.

    Args:
        digit: 0 to 9.
        style: Which of its styles.
        hand: Whose; 0 draws each style as it stands.
        size: The sheet's width and height.
    """
    random = np.random.default_rng((digit, style, hand))
    amount = 1.0 if hand else 0.0
    slant, turn = amount * random.uniform(-0.2, 0.2), amount * math.radians(random.uniform(-8, 8))
    width = size * (0.55 + amount * random.uniform(-0.12, 0.15))
    height = size * (0.6 + amount * random.uniform(-0.2, 0.1))
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = rotation @ np.diag([width, height]) @ np.array([[1.0, -slant], [0.0, 1.0]])
    drawn = [np.array(points) @ matrix.T for points in STYLES[digit][style]]
    drawn = [points + amount * size * 0.012 * _wobble(len(points), random) for points in drawn]
    everything = np.concatenate(drawn)
    room = size - np.ptp(everything, axis=0)
    corner = room * (0.5 + amount * random.uniform(-0.3, 0.3, 2)) - everything.min(axis=0)
    return [points + corner for points in drawn]


def samples(hands: Iterable[int]) -> list[tuple[int, list[Stroke]]]:
    """Return every style of every digit by each of these hands, with its digit."""
    return [
        (digit, written(digit, style, hand))
        for hand in hands
        for digit, styles in STYLES.items()
        for style in range(len(styles))
    ]


def _wobble(count: int, random: np.random.Generator) -> Stroke:
    """Return how far an unsteady hand is off at each point: smooth, since a hand doesn't jump."""
    knots, at = np.linspace(0, 1, 6), np.linspace(0, 1, count)
    return np.stack([np.interp(at, knots, random.normal(size=6)) for _ in range(2)], axis=1)

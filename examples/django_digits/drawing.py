"""A drawing: strokes as a browser sends them, and the picture of 8 by 8 grey values that the model was trained on.

Owns reading the strokes, with every bound that something from outside needs, and drawing them the way the training data
was made: on a sheet of 32 by 32 dots, filled from top to bottom, of which each grey value counts 4 by 4. Knows neither
Django nor predictd. Any thread.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

MOST_STROKES = 50
MOST_POINTS = 2000
#: Coordinates are pixels of a page.
MOST_PIXELS = 10_000

SIDE, CELL = 8, 4
_SHEET = SIDE * CELL
# Of the pens that were tried (2 to 3 dots) the one whose digits the model reads best.
_PEN_RADIUS = 3.0
_HEIGHT, _MOST_WIDTH = _SHEET - 2 * _PEN_RADIUS, 20.0
#: Drawings that are wider than four times their height (a dash) are not made higher.
_FLATTEST = 0.25
#: Of a dot, which has no size.
_LEAST_SIZE = 1e-3
#: How many pieces of a stroke are compared with all dots of the sheet at once: 2 MB.
_PIECES = 128

Stroke = NDArray[np.float64]


class DrawingError(ValueError):
    """What was sent is no drawing; the text is for whoever drew it."""


def read_strokes(body: bytes | str) -> list[Stroke]:
    """Return the strokes in `{"strokes": [[[x, y], ...], ...]}`.

    Raises:
        DrawingError: It is something else, or too much of it.
    """
    try:
        sent = json.loads(body)
    except (ValueError, RecursionError) as error:
        message = "expected a drawing as JSON"
        raise DrawingError(message) from error
    strokes = sent.get("strokes") if isinstance(sent, dict) else None
    if not isinstance(strokes, list) or not all(isinstance(stroke, list) for stroke in strokes):
        message = 'expected {"strokes": [[[x, y], ...], ...]}'
        raise DrawingError(message)
    points = sum(map(len, strokes))
    if not points:
        message = "nothing is drawn yet"
        raise DrawingError(message)
    if len(strokes) > MOST_STROKES or points > MOST_POINTS:
        most = f"expected at most {MOST_STROKES} strokes of {MOST_POINTS} points in all"
        message = f"too much for a digit: {most}, got {len(strokes)} of {points}"
        raise DrawingError(message)
    return [_stroke(stroke) for stroke in strokes if stroke]


def picture(strokes: Sequence[Stroke]) -> NDArray[np.float32]:
    """Return the strokes as the model takes them: `float32[8, 8, 1]`, 0 for paper, 1 for ink."""
    everything = np.concatenate(strokes)
    low, high = everything.min(axis=0), everything.max(axis=0)
    width, height = np.maximum(high - low, _LEAST_SIZE)
    down = _HEIGHT / max(height, _FLATTEST * width)
    across = min(down, _MOST_WIDTH / width)
    dots = np.arange(_SHEET, dtype=np.float32) + 0.5
    sheet = np.stack(np.meshgrid(dots, dots), axis=-1).reshape(-1, 1, 2)
    distance = np.full(len(sheet), np.inf, np.float32)
    for begin, end in _pieces(strokes, (low + high) / 2, np.array([across, down])):
        np.minimum(distance, _distance(sheet, begin, end), out=distance)
    ink = (distance <= _PEN_RADIUS).reshape(SIDE, CELL, SIDE, CELL, 1)
    grey: NDArray[np.float32] = ink.mean(axis=(1, 3), dtype=np.float32)
    return grey


def _stroke(points: list[object]) -> Stroke:
    for point in points:
        if not isinstance(point, list) or len(point) != 2 or not all(map(_is_coordinate, point)):  # noqa: PLR2004
            message = f"expected points [x, y] of at most {MOST_PIXELS} pixels, got {str(point)[:60]}"
            raise DrawingError(message)
    return np.array(points, np.float64)


def _is_coordinate(value: object) -> bool:
    # `bool` is an int, and no comparison holds for NaN.
    return type(value) in {int, float} and -MOST_PIXELS <= value <= MOST_PIXELS  # type: ignore[operator]


def _pieces(
    strokes: Sequence[Stroke], centre: NDArray[np.float64], scale: NDArray[np.float64]
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the straight pieces of the strokes on the sheet, some at a time: where each begins and ends."""
    for stroke in strokes:
        points = ((stroke - centre) * scale + _SHEET / 2).astype(np.float32)
        # A dot is a piece from itself to itself.
        begins, ends = points, np.concatenate([points[1:], points[-1:]])
        for first in range(0, len(points), _PIECES):
            yield begins[first : first + _PIECES], ends[first : first + _PIECES]


def _distance(sheet: NDArray[np.float32], begin: NDArray[np.float32], end: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return how far each dot of the sheet is from the nearest piece."""
    along = end - begin
    length = np.maximum((along * along).sum(axis=-1), 1e-12)
    part = np.clip(((sheet - begin) * along).sum(axis=-1) / length, 0, 1)
    nearest = begin + part[..., np.newaxis] * along
    distance: NDArray[np.float32] = np.sqrt(((nearest - sheet) ** 2).sum(axis=-1).min(axis=1))
    return distance

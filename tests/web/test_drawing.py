"""A drawing becomes a picture as the model was trained on, wherever and however large it was drawn."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.django_digits.drawing import MOST_PIXELS, MOST_POINTS, DrawingError, picture, read_strokes
from examples.django_digits.handwriting import STYLES, written

POINTS = st.tuples(st.floats(-1000, 1000), st.floats(-1000, 1000))
STROKES = st.lists(st.lists(POINTS, min_size=1, max_size=8).map(np.array), min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.just("strokes"), inner, max_size=1),
    max_leaves=8,
)


def sent(strokes: object) -> bytes:
    return json.dumps({"strokes": strokes}).encode()


@settings(deadline=None)
@given(STROKES)
def test_every_drawing_has_a_picture(strokes: list[np.ndarray]) -> None:
    image = picture(strokes)
    assert image.shape == (8, 8, 1)
    assert image.dtype == np.float32
    assert ((image >= 0) & (image <= 1)).all()
    assert image.max() > 0


@settings(deadline=None, max_examples=30)
@given(
    digit=st.sampled_from(sorted(STYLES)),
    hand=st.integers(0, 500),
    scale=st.floats(0.2, 8),
    at=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_place_and_size_don_t_matter(digit: int, hand: int, scale: float, at: tuple[float, float]) -> None:
    strokes = written(digit, 0, hand)
    moved = [points * scale + at for points in strokes]
    # Dots on the very edge of the pen may fall to either side: one of a cell's sixteen.
    assert np.abs(picture(moved) - picture(strokes)).max() <= 1 / 8


def test_a_digit_fills_the_sheet_from_top_to_bottom() -> None:
    for digit, styles in STYLES.items():
        for style in range(len(styles)):
            ink = picture(written(digit, style, 1))[..., 0]
            assert ink[0].max() > 0.1
            assert ink[-1].max() > 0.1


@pytest.mark.parametrize("points", [[[5, 5]], [[5, 5], [5, 5]], [[0, 9], [200, 9]], [[9, 0], [9, 200]], [[1e4, -1e4]]])
def test_dots_and_dashes_have_pictures(points: list[list[float]]) -> None:
    image = picture(read_strokes(sent([points])))
    assert 0 < image.mean() < 0.5


def test_strokes_are_read_as_they_were_sent() -> None:
    strokes = read_strokes(sent([[[1, 2], [3.5, -4]], [], [[0, 0]]]))
    assert [stroke.tolist() for stroke in strokes] == [[[1, 2], [3.5, -4]], [[0, 0]]]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "JSON"),
        (b"\xff", "JSON"),
        (b"[" * 20_000, "JSON"),
        (b"7", "expected"),
        (b"{}", "expected"),
        (sent(None), "expected"),
        (sent([7]), "expected"),
        (sent([]), "nothing is drawn"),
        (sent([[]]), "nothing is drawn"),
        (sent([[7]]), "points"),
        (sent([[[1]]]), "points"),
        (sent([[[1, 2, 3]]]), "points"),
        (sent([[["1", 2]]]), "points"),
        (sent([[[True, 2]]]), "points"),
        (sent([[[None, 2]]]), "points"),
        (sent([[[float("nan"), 2]]]), "points"),
        (sent([[[float("inf"), 2]]]), "points"),
        (sent([[[10**400, 2]]]), "points"),
        (sent([[[MOST_PIXELS + 1, 2]]]), "points"),
        (sent([[[0, 0]] * (MOST_POINTS + 1)]), "at most"),
        (sent([[[0, 0]]] * 51), "at most"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_is_no_drawing_is_told(body: bytes, says: str) -> None:
    with pytest.raises(DrawingError, match=says):
        read_strokes(body)


@given(JSON.map(lambda value: json.dumps(value).encode()) | JSON.map(sent) | st.binary())
def test_nothing_that_is_sent_raises_anything_else(body: bytes) -> None:
    with contextlib.suppress(DrawingError):
        assert picture(read_strokes(body)).shape == (8, 8, 1)

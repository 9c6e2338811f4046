"""Gains: what is noise, what is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_server.tuning.comparison import gain_of

FIGURES = st.lists(st.floats(1.0, 1e6), min_size=1, max_size=12)


def test_one_disturbed_round_of_six_is_left_out() -> None:
    gain = gain_of([100] * 6, [50, 120, 121, 122, 119, 120])
    assert (gain.ratio, gain.low, gain.high) == (1.2, 1.19, 1.21)
    assert gain.is_certain
    assert str(gain) == "1.20x (1.19 to 1.21)"


@pytest.mark.parametrize(
    ("after", "is_certain", "is_loss"),
    [
        ([120, 90, 130], False, False),
        ([101, 102, 101], False, False),
        ([110, 104, 101], True, False),
        ([90, 80, 99], False, True),
        ([99, 98, 99], False, False),
    ],
)
def test_a_gain_is_certain_where_every_round_says_so_and_it_matters(
    after: list[float], is_certain: bool, is_loss: bool
) -> None:
    gain = gain_of([100, 100, 100], after)
    assert (gain.is_certain, gain.is_loss) == (is_certain, is_loss)


@given(FIGURES)
def test_nothing_is_gained_by_what_is_the_same(figures: list[float]) -> None:
    gain = gain_of(figures, figures)
    assert (gain.low, gain.ratio, gain.high) == (1.0, 1.0, 1.0)
    assert not gain.is_certain
    assert not gain.is_loss


@given(st.lists(st.tuples(st.floats(1.0, 1e6), st.floats(1.0, 1e6)), min_size=1, max_size=12))
def test_no_gain_is_both_certain_and_a_loss(rounds: list[tuple[float, float]]) -> None:
    before, after = zip(*rounds, strict=True)
    gain = gain_of(before, after)
    assert gain.low <= gain.ratio <= gain.high
    assert not (gain.is_certain and gain.is_loss)


def test_no_rounds_and_uneven_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="no rounds"):
        gain_of([], [])
    with pytest.raises(ValueError, match="shorter"):
        gain_of([1.0, 2.0], [1.0])

"""The choice of batch sizes, from durations that are made up."""

from __future__ import annotations

from bisect import bisect_left

import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_server.tuning.batch_choice import (
    ENOUGH,
    MOST_PADDING,
    MOST_SIZES,
    Curve,
    choose_sizes,
    most_rows,
    padding_cost,
)

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
CURVES = st.lists(st.floats(1e-6, 1.0), min_size=len(SIZES), max_size=len(SIZES)).map(
    lambda durations: Curve(dict(zip(SIZES, durations, strict=True)))
)


def linear(row_s: float, run_s: float) -> Curve:
    return Curve({size: run_s + size * row_s for size in SIZES})


@pytest.mark.parametrize(
    ("row_s", "run_s", "latency_s", "expected"),
    [
        (1e-6, 1e-3, 1.0, 128),  # a run costs nearly the same, whatever it holds
        (1e-3, 1e-5, 1.0, 1),  # a row costs the same, however many there are
        (1e-3, 1e-2, 1.0, 128),
        (1e-3, 1e-2, 0.03, 16),  # more would take too long
        (1e-3, 1e-2, 0.001, 1),  # all take too long
    ],
)
def test_the_largest_size_pays_and_fits(row_s: float, run_s: float, latency_s: float, expected: int) -> None:
    assert most_rows(linear(row_s, run_s), latency_s) == expected


def test_where_throughput_falls_again_the_best_is_found() -> None:
    durations_s = {size: 0.001 * size + 0.005 for size in SIZES} | {64: 0.2, 128: 0.5}
    assert most_rows(Curve(durations_s), 1.0) == 32


def test_a_flat_curve_needs_few_sizes_and_a_steep_one_more() -> None:
    assert choose_sizes(linear(1e-9, 1e-3), 128) == (1, 128)
    assert choose_sizes(linear(1e-3, 0.0), 16) == (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


@given(CURVES, st.sampled_from(SIZES))
def test_padding_costs_at_most_what_is_allowed(curve: Curve, most: int) -> None:
    sizes = choose_sizes(curve, most)
    assert sizes[0] == 1
    assert sizes[-1] == most
    assert list(sizes) == sorted(set(sizes))
    assert len(sizes) <= MOST_SIZES
    if len(sizes) < MOST_SIZES // 2:  # else the bound was loosened
        for rows in range(1, most + 1):
            padded = curve.duration_s(sizes[bisect_left(sizes, rows)])
            assert padded <= curve.duration_s(rows) * MOST_PADDING * 1.0001 or rows in sizes
        assert 1.0 <= padding_cost(curve, sizes, most) <= MOST_PADDING * 1.0001


@given(CURVES, st.floats(1e-6, 2.0))
def test_nothing_within_the_latency_is_much_faster(curve: Curve, latency_s: float) -> None:
    most = most_rows(curve, latency_s)
    fitting = [size for size in SIZES if curve.duration_s(size) <= latency_s]
    assert most == 1 or curve.duration_s(most) <= latency_s
    assert all(curve.rows_per_second(most) >= ENOUGH * curve.rows_per_second(size) for size in fitting)


@given(CURVES, st.integers(1, 200), st.integers(1, 200))
def test_more_rows_never_take_less(curve: Curve, one: int, other: int) -> None:
    low, high = sorted((one, other))
    assert curve.duration_s(low) <= curve.duration_s(high) * 1.0001


def test_one_size_alone() -> None:
    curve = Curve({1: 0.01})
    assert most_rows(curve, 1.0) == 1
    assert choose_sizes(curve, 1) == (1,)
    assert padding_cost(curve, (1,), 1) == 1.0

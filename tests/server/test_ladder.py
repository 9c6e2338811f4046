"""The allowed batch sizes: which ones pay, and which ones are put in between."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from predictd_proto.errors import ModelLoadError
from predictd_proto.metadata import SignatureSpec
from predictd_server.models.settings import ModelSettings
from predictd_server.models.version_loading import VersionLoading
from predictd_server.runner import Arrays, LoadedSignature
from predictd_server.serving.ladder import (
    LONG_S,
    MOST_LOSS,
    MOST_ROWS,
    SHORT_S,
    allowed_size,
    batch_ladder,
    further_sizes,
    paying_sizes,
    sizes_between,
)
from predictd_server.settings import Settings
from predictd_server.trials import warm_sizes as warm
from predictd_server.trials.warmup import Measured
from tests.server.fake_model import doubling_spec

LADDER = batch_ladder(64)
COSTS = st.lists(st.floats(1e-6, 10.0), min_size=len(LADDER), max_size=len(LADDER)).map(
    lambda costs: dict(zip(LADDER, costs, strict=True))
)


def linear(row_s: float, run_s: float = 0.0) -> dict[int, float]:
    return {size: run_s + size * row_s for size in LADDER}


def test_short_runs_are_never_cut_short() -> None:
    assert paying_sizes(LADDER, linear(50e-6)) == LADDER


def test_a_model_that_only_gets_slower_ends_where_a_run_is_long() -> None:
    costs_s = linear(0.002) | {32: 0.08, 64: 0.2}
    assert paying_sizes(LADDER, costs_s) == (1, 2, 4)


def test_a_dip_does_not_hide_what_pays_behind_it() -> None:
    costs_s = linear(0.001, 0.04) | {8: 0.06}
    assert paying_sizes(LADDER, costs_s) == LADDER


def test_sizes_without_a_cost_stay() -> None:
    assert paying_sizes(LADDER, {}) == LADDER
    assert sizes_between(LADDER, {}) == ()


def test_long_steep_steps_are_halved() -> None:
    assert sizes_between((1, 2, 4, 8), linear(0.002)) == (3, 6)
    assert sizes_between((1, 2, 4, 8), linear(0.0001, 0.05)) == ()
    assert sizes_between((1, 2, 4, 8), linear(0.0001)) == ()


@given(COSTS)
def test_what_is_left_out_answers_hardly_more_rows(costs_s: dict[int, float]) -> None:
    paying = paying_sizes(LADDER, costs_s)
    assert paying == LADDER[: len(paying)]
    best = max(size / costs_s[size] for size in LADDER)
    top = max(size / costs_s[size] for size in paying)
    assert top * MOST_LOSS >= best
    assert paying == LADDER or costs_s[paying[-1]] >= LONG_S


@given(COSTS, st.integers(1, 64))
def test_sizes_in_between_only_save_padding(costs_s: dict[int, float], rows: int) -> None:
    between = sizes_between(LADDER, costs_s)
    assert not set(between) & set(LADDER)
    more = tuple(sorted((*LADDER, *between)))
    assert rows <= allowed_size(more, rows) <= allowed_size(LADDER, rows)
    assert all(sum(low < size < high for size in between) <= 1 for low, high in pairwise(LADDER))


#: A cost for a size that the model can't be run with.
FAILS = -1.0


class Timed:
    """Runs nothing; `warm_up` is replaced."""

    kind = "session"

    def run(self, inputs: Arrays) -> Arrays:
        return inputs

    def close(self) -> None:
        pass


class Compiling(Timed):
    kind = "session-xla"
    traces = 0


def warmed(
    monkeypatch: Any,
    *,
    looks: list[dict[int, float]],
    runner: Timed,
    further: tuple[int, ...] = (),
    known: tuple[int, ...] = (),
    is_most_kept: bool = False,
    **fields: Any,
) -> tuple[int, ...]:
    """Return the sizes that are left, with what each warm-up of them measures."""

    def warm_up(signature: LoadedSignature, sizes: tuple[int, ...], lengths: tuple[int, ...]) -> dict[Measured, float]:
        costs_s = looks.pop(0) if len(looks) > 1 else looks[0]
        if any(costs_s.get(size) == FAILS for size in sizes):
            text = "too many rows"
            raise ModelLoadError(text)
        return {(size, ()): costs_s.get(size, 0.001 * size) for size in sizes}

    monkeypatch.setattr(warm, "warm_up", warm_up)
    signature = LoadedSignature(
        doubling_spec((None, 4)), runner, synthesise=lambda rows, seed=0, length=None: [np.zeros((rows, 4))]
    )
    settings = ModelSettings(name="m", path=Path("/m"), **fields)
    sizes, costs_s = warm.warm_sizes(
        signature,
        fields.get("batch_sizes", LADDER),
        settings,
        further=further,
        known=known,
        is_most_kept=is_most_kept,
    )
    assert tuple(size for size, _ in costs_s) == sizes
    return sizes


def test_what_disturbed_the_first_look_is_seen_through_by_the_second(monkeypatch: Any) -> None:
    grows = linear(0.001, 0.05)
    assert warmed(monkeypatch, looks=[grows | {64: 1.0}, grows], runner=Timed())[-1] == 64


def test_what_is_slow_twice_is_left_out(monkeypatch: Any) -> None:
    slow = linear(0.001, 0.0012) | {32: 0.2, 64: 0.5}
    assert warmed(monkeypatch, looks=[slow], runner=Timed()) == (1, 2, 3, 4, 6, 8, 12, 16)


def test_a_program_for_each_size_gets_none_in_between(monkeypatch: Any) -> None:
    slow = linear(0.001, 0.0012) | {32: 0.2, 64: 0.5}
    assert warmed(monkeypatch, looks=[slow], runner=Compiling()) == (1, 2, 4, 8, 16)


def test_sizes_that_are_set_are_taken_as_they_are(monkeypatch: Any) -> None:
    slow = {3: 1.0, 7: 9.0}
    assert warmed(monkeypatch, looks=[slow], runner=Timed(), batch_sizes=(3, 7)) == (3, 7)


def test_sizes_that_were_found_before_are_not_looked_for_again(monkeypatch: Any) -> None:
    slow = linear(0.001, 0.0012) | {32: 0.2, 64: 0.5}
    assert warmed(monkeypatch, looks=[slow], runner=Timed(), known=(1, 2, 64)) == (1, 2, 64)


def test_a_largest_size_that_is_set_is_not_left_out(monkeypatch: Any) -> None:
    slow = linear(0.001, 0.0012) | {32: 0.2, 64: 0.5}
    assert warmed(monkeypatch, looks=[slow], runner=Compiling(), is_most_kept=True) == LADDER


BEYOND = (128, 256, 512, 1024)
SHORT = {size: 40e-6 + size * 1e-6 for size in (*LADDER, *BEYOND)}


def test_where_runs_are_short_larger_batches_are_tried_up_to_one_that_is_not(monkeypatch: Any) -> None:
    assert SHORT[256] < SHORT_S <= SHORT[512]
    assert warmed(monkeypatch, looks=[SHORT], runner=Timed(), further=BEYOND) == (*LADDER, 128, 256, 512)
    assert warmed(monkeypatch, looks=[SHORT], runner=Timed(), further=BEYOND[:1]) == (*LADDER, 128)
    assert warmed(monkeypatch, looks=[linear(20e-6)], runner=Timed(), further=BEYOND) == LADDER


def test_larger_batches_that_answer_no_more_rows_are_not_had(monkeypatch: Any) -> None:
    assert warmed(monkeypatch, looks=[SHORT | {256: SHORT[128] * 2}], runner=Timed(), further=BEYOND) == (*LADDER, 128)


def test_a_larger_batch_that_fails_fails_no_load(monkeypatch: Any) -> None:
    assert warmed(monkeypatch, looks=[SHORT | {256: FAILS}], runner=Timed(), further=BEYOND) == (*LADDER, 128)


def test_a_program_for_each_size_gets_no_larger_ones(monkeypatch: Any) -> None:
    assert warmed(monkeypatch, looks=[SHORT], runner=Compiling(), further=BEYOND) == LADDER


@given(st.integers(1, 65536), st.integers(0, 1 << 20), st.integers(1, 1 << 30))
def test_sizes_that_may_follow_are_bounded(largest: int, of_row: int, most: int) -> None:
    sizes = batch_ladder(largest)
    further = further_sizes(sizes, of_row, most)
    assert further_sizes((), of_row, most) == ()
    assert further == tuple(largest * 2 ** (1 + times) for times in range(len(further)))
    assert all(size <= MOST_ROWS and size * of_row <= most for size in further)
    following = largest * 2 ** (1 + len(further))
    assert following > MOST_ROWS or following * of_row > most


FIXED = doubling_spec((None, 4))

#: The first of two looks is on a machine that is busy with 32 rows.
BUSY_FIRST = [linear(0.001, 0.0012) | {32: 0.2, 64: 0.5}, linear(0.001, 0.2)]


def load_again(
    monkeypatch: Any,
    settings: Settings,
    *,
    looks: list[dict[int, float]] = BUSY_FIRST,
    runner: Timed | None = None,
    spec: SignatureSpec = FIXED,
    **fields: Any,
) -> list[tuple[int, ...]]:
    """Return the sizes of several loads of the same contents, two by default."""
    loading = VersionLoading(settings)
    signature = LoadedSignature(spec, runner or Compiling())
    found = []
    for costs_s in looks:

        def warm_up(
            signature: LoadedSignature, sizes: tuple[int, ...], lengths: object, of: Any = costs_s
        ) -> dict[Measured, float]:
            return {(size, ()): of.get(size, 0.5) for size in sizes}

        monkeypatch.setattr(warm, "warm_up", warm_up)
        settings_of_model = ModelSettings(name="m", path=Path("/m"), **fields)
        sizes, _ = loading._warm_sizes("m", "sha256:1", signature, LADDER, settings_of_model)
        found.append(sizes)
    return found


def test_the_same_contents_get_the_same_sizes_again_and_it_is_logged(monkeypatch: Any, caplog: Any) -> None:
    caplog.set_level("INFO", "predictd")
    assert load_again(monkeypatch, Settings()) == [(1, 2, 4, 8, 16)] * 2
    assert (
        "batches have at most 16 rows: those up to 64 that were tried answered no more rows per second" in caplog.text
    )


def test_larger_batches_are_had_by_default_and_it_is_logged(monkeypatch: Any, caplog: Any) -> None:
    caplog.set_level("INFO", "predictd")
    assert (
        load_again(monkeypatch, Settings(), looks=[SHORT, linear(1.0)], runner=Timed())
        == [(*LADDER, 128, 256, 512)] * 2
    )
    assert "batches have at most 512 rows: runs of 64 are short" in caplog.text


@pytest.mark.parametrize(
    ("spec", "fields", "most"),
    [
        (FIXED, {}, 512),
        (FIXED, {"max_queue_rows": 200}, 128),
        (FIXED, {"max_queue_rows": 100}, 64),
        (doubling_spec((None, None)), {}, 64),
        (doubling_spec((None, 4), (None, None)), {}, 64),
        (doubling_spec((None, 4), dtype="string"), {}, 64),
    ],
    ids=["alike", "queue", "short queue", "free axis", "one free axis", "strings"],
)
def test_larger_batches_are_for_rows_that_are_all_alike_and_fit_the_queue(
    monkeypatch: Any, spec: SignatureSpec, fields: dict[str, Any], most: int
) -> None:
    [sizes] = load_again(monkeypatch, Settings(), looks=[SHORT], runner=Timed(), spec=spec, **fields)
    assert sizes[-1] == most
    [sizes] = load_again(monkeypatch, Settings(max_batch_bytes=16 * 300), looks=[SHORT], runner=Timed(), spec=FIXED)
    assert sizes[-1] == 256


def test_a_reload_does_not_fail_for_sizes_that_nobody_asked_for(monkeypatch: Any) -> None:
    found = (*LADDER, 128, 256)
    assert warmed(monkeypatch, looks=[SHORT], runner=Timed(), known=found) == found
    assert warmed(monkeypatch, looks=[SHORT | {256: FAILS}], runner=Timed(), known=found) == LADDER
    with pytest.raises(ModelLoadError):
        warmed(monkeypatch, looks=[SHORT | {32: FAILS}], runner=Timed(), known=LADDER)


def test_whoever_sets_the_largest_size_gets_it(monkeypatch: Any) -> None:
    assert load_again(monkeypatch, Settings(), looks=[SHORT], runner=Timed(), max_batch_size=64) == [LADDER]
    assert load_again(monkeypatch, Settings(), max_batch_size=64) == [LADDER] * 2
    assert load_again(monkeypatch, Settings(origins={"max_batch_size": "flag --max-batch-size"})) == [LADDER] * 2

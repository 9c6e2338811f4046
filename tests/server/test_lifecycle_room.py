"""Versions that are too large for what is left of the memory limit: they wait for room, and say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from predictd_proto.errors import ModelLoadError
from predictd_proto.messages import ErrorResponse
from predictd_server.models.files import ModelFile
from predictd_server.models.settings import ModelSettings
from tests.model_files import keras_file
from tests.server.upkeep_bench import UpkeepBench, done

NO_ROOM = ModelLoadError("does not fit", {"needs_bytes": 10_000_000, "left_bytes": 7_500_000})
WAITS = "does not fit; it waits for room: 2.5 MB are missing"


def bench_of_two(tmp_path: Path, *versions: int, watch_s: float = 0.0) -> UpkeepBench:
    """Return a bench of the model `m` beside a model `n`, not begun."""
    keras_file(tmp_path / "n" / "1" / "model.keras")
    beside = [ModelSettings(name="n", path=tmp_path / "n")]
    return UpkeepBench(tmp_path / "m", *versions, watch_s=watch_s, beside=beside)


@pytest.mark.parametrize("watch_s", [0.0, 10.0])
def test_it_is_tried_once_more_when_another_model_has_gone(tmp_path: Path, watch_s: float) -> None:
    bench = bench_of_two(tmp_path, 2, watch_s=watch_s)
    bench.troubles[2] = NO_ROOM
    bench.begin()
    assert bench.states == {2: "failed"}
    assert WAITS in bench.row(2).error
    tries = bench.loads.count(2)
    bench.look()
    assert bench.loads.count(2) == tries, "nothing has made room"
    bench.troubles.clear()
    bench.unload(model="n")
    assert bench.loads.count(2) == tries + 1
    assert bench.ready == [2]
    assert bench.row(2).error == ""


def test_it_is_tried_once_for_each_change_in_room(tmp_path: Path) -> None:
    bench = bench_of_two(tmp_path, 2)
    bench.troubles[2] = NO_ROOM
    bench.begin()
    bench.unload(model="n")
    assert bench.loads.count(2) == 2
    for _ in range(3):
        bench.upkeep.tend(bench.now)
    assert bench.loads.count(2) == 2
    assert WAITS in bench.row(2).error


def test_a_replaced_version_makes_room(tmp_path: Path) -> None:
    bench = bench_of_two(tmp_path, 2)
    bench.troubles[2] = NO_ROOM
    bench.begin()
    bench.troubles.clear()
    keras_file(tmp_path / "n" / "1" / "model.keras")
    bench.load(1, model="n")
    assert bench.states == {2: "failed"}
    bench.upkeep.tend(bench.now)
    assert bench.ready == [2]


def test_a_version_that_waits_for_room_takes_the_place_of_the_one_that_stood_in(tmp_path: Path) -> None:
    bench = bench_of_two(tmp_path, 1).begin()
    bench.troubles[2] = NO_ROOM
    bench.add(2)
    bench.reload()
    assert bench.states == {2: "failed", 1: "ready"}
    bench.troubles.clear()
    bench.unload(model="n")
    assert bench.ready == [2]


def test_the_room_that_comes_is_no_reason_to_load_what_nobody_tried_to(tmp_path: Path) -> None:
    bench = bench_of_two(tmp_path, 1).begin()
    bench.add(2)
    bench.add(3)
    bench.troubles[2] = ValueError("broken")
    bench.load(2)
    bench.unload(model="n")
    assert bench.ready == [1]
    assert bench.loads.count(2) == 1
    assert bench.loads.count(3) == 0


def test_what_was_ordered_in_vain_does_not_wait(tmp_path: Path) -> None:
    bench = bench_of_two(tmp_path, 1, 2).begin()
    bench.troubles[1] = NO_ROOM
    assert isinstance(bench.load(1), ErrorResponse)
    assert bench.row(1).error == "does not fit", "its caller was told, and nothing wants it"
    bench.troubles.clear()
    bench.unload(model="n")
    assert bench.ready == [2]


@pytest.mark.parametrize("is_ordered", [True, False])
def test_what_can_leave_has_left_before_the_next_is_loaded(tmp_path: Path, *, is_ordered: bool) -> None:
    bench = bench_of_two(tmp_path, 1, watch_s=10.0).begin()
    replaced = bench.runners[0]
    assert bench.signature().runner is replaced

    def meanwhile(file: ModelFile) -> None:
        if file.name == "n" and not replaced.is_closed:
            raise NO_ROOM

    bench.meanwhile = meanwhile
    bench.add(1)
    keras_file(tmp_path / "n" / "1" / "model.keras")
    if is_ordered:
        assert "model n version 1 is ready" in done(bench.reload())[1]
    else:
        bench.look()
    assert len(bench.loads) == 4

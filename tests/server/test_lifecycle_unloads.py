"""When an order to unload is answered: all that it means is out of memory, whoever else let go of it. No TensorFlow."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.server.upkeep_bench import UpkeepBench, done, refused


def fault(*args: object) -> None:
    text = "a fault of ours"
    raise RuntimeError(text)


def test_unload_waits_for_what_leaves_already(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()
    signature = bench.signature()
    signature.open_requests = 1
    assert bench.unload() is None
    assert bench.unload(1) is None, "its memory is not given back yet"
    assert bench.unload() is None
    signature.open_requests = 0
    bench.upkeep.tend(bench.now)
    answers = [answer for _, answer in bench.desk.take_answers()]
    assert [len(done(answer)) for answer in answers] == [1, 1, 1]
    assert {done(answer)[0].partition(";")[0] for answer in answers} == {"model m version 1: unloaded"}
    assert done(bench.unload(1)) == ("model m: nothing of that was loaded",)


def test_unload_waits_for_the_files_that_were_replaced_too(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, watch_s=0).begin()
    old = bench.signature()
    old.open_requests = 1
    bench.add(1)
    bench.load(1)
    assert bench.unload(1) is None
    assert bench.runners[1].is_closed
    old.open_requests = 0
    bench.upkeep.tend(bench.now)
    assert len(done(bench.answer())) == 2


def test_unload_of_a_version_that_leaves_and_whose_files_are_gone(tmp_path: Path) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2, watch_s=0).begin()
    signature = bench.signature(1)
    signature.open_requests = 1
    bench.unload(1)
    (tmp_path / "1").rename(tmp_path / ".1")
    bench.reload()
    assert bench.states == {2: "ready", 1: "unloading"}
    assert bench.unload(1) is None
    signature.open_requests = 0
    bench.upkeep.tend(bench.now)
    assert [len(done(answer)) for _, answer in bench.desk.take_answers()] == [1, 1]


def test_whatever_goes_wrong_when_a_version_has_left_its_order_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()

    monkeypatch.setattr(bench.registry, "remove", fault)
    assert "unloaded" in done(bench.unload(1))[0]


def test_an_unload_that_can_not_be_answered_as_it_should_is_told_of_the_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = UpkeepBench(tmp_path, 1).begin()

    monkeypatch.setattr("predictd_server.models.upkeep.shown_versions", fault)
    assert "a fault in the server" in refused(bench.unload(1), "internal")
    assert not len(bench.departures)

"""Orders of clients: what each does to a model, what it answers, and what it refuses. No TensorFlow, no thread."""

from __future__ import annotations

import select
from pathlib import Path

import pytest

from predictd_proto.errors import ModelNotFoundError, OverloadedError, ServerDrainingError, VersionNotFoundError
from predictd_proto.messages import ErrorResponse
from predictd_proto.orders import LoadRequest, OrderResponse, ReloadRequest
from predictd_server.models.orders import OrderDesk
from tests.server.loader_bench import LoaderBench


def done(answer: object) -> tuple[str, ...]:
    assert isinstance(answer, OrderResponse), answer
    return answer.done


def refused(answer: object, code: str) -> str:
    assert isinstance(answer, ErrorResponse), answer
    assert answer.code == code, answer
    return answer.message


def test_load_looks_anew_and_serves_the_newest(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, watch_s=0).begin()
    bench.add(2)
    answer = bench.load()
    assert done(answer)[0].startswith("model m version 2 is ready")
    assert done(answer)[1] == "model m version 1: is served no longer"
    assert [(row.version, row.state) for row in answer.models] == [(2, "ready"), (1, "unloading")]
    assert bench.signature().version == 2


def test_load_of_what_is_ready_changes_nothing_unless_its_files_have(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, watch_s=0).begin()
    assert done(bench.load()) == ("model m version 1: was ready before",)
    assert done(bench.load(1)) == ("model m version 1: was ready before",)
    assert bench.loads == [1]
    bench.add(1)
    assert "is ready" in done(bench.load(1))[0]
    assert bench.loads == [1, 1]


def test_load_of_an_older_version_serves_it_beside_until_reload(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2).begin()
    bench.load(1)
    assert bench.ready == [2, 1]
    bench.look()
    assert bench.ready == [2, 1], "a look does not undo an order"
    assert done(bench.reload("m")) == ("model m version 1: is served no longer",)
    assert bench.ready == [2]


def test_load_tries_again_what_failed_and_tells_why_it_fails(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, watch_s=0).begin()
    bench.add(2)
    bench.troubles[2] = ValueError("wrong weights")
    assert "wrong weights" in refused(bench.load(), "model_load")
    assert "wrong weights" in refused(bench.load(2), "model_load")
    assert bench.loads == [1, 2, 2]
    assert bench.ready == [1]
    del bench.troubles[2]
    assert "is ready" in done(bench.load())[0]


def test_load_tells_of_a_newest_version_that_is_broken_instead_of_passing_it_over(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1).begin()
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "model.keras").write_bytes(b"PK")
    assert "not a whole Keras file" in refused(bench.load(), "model_load")
    assert "not a whole Keras file" in refused(bench.load(2), "model_load")
    assert "not a whole Keras file" in refused(bench.reload(), "model_load")
    assert bench.ready == [1]


@pytest.mark.parametrize("model", ["nope", "", "../m", "/etc"])
def test_orders_are_for_models_of_the_configuration_alone(tmp_path: Path, model: str) -> None:
    bench = LoaderBench(tmp_path / "models", 1).begin()
    assert "there are 'm'" in refused(bench.load(model=model), ModelNotFoundError.code)
    assert "configured with" in refused(bench.reload(model), ModelNotFoundError.code)
    assert bench.loads == [1]


def test_load_and_unload_of_a_version_that_is_not_there(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1).begin()
    assert "no version 7 to load or unload; there are: 1" in refused(bench.load(7), VersionNotFoundError.code)
    assert "no version 7" in refused(bench.unload(7), VersionNotFoundError.code)


def test_unload_is_answered_when_the_memory_is_given_back(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1).begin()
    signature = bench.signature()
    signature.open_requests = 2
    assert bench.unload() is None
    assert bench.states == {1: "unloading"}
    with pytest.raises(ModelNotFoundError, match="unloading"):
        bench.signature()
    signature.open_requests = 0
    bench.loader.tend(bench.now)
    assert "model m version 1: unloaded" in done(bench.answer())[0]
    assert bench.runners[0].is_closed
    assert bench.states == {1: "available"}


def test_what_was_unloaded_stays_so_until_it_is_ordered_back(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2, versions=2).begin()
    bench.unload(2)
    bench.look()
    assert bench.ready == [1]
    bench.load(2)
    assert bench.ready == [2, 1]
    bench.unload()
    bench.add(3)
    bench.look()
    assert bench.ready == [], "the whole model is off, versions that come later too"
    bench.load(1)
    assert bench.ready == [1]
    bench.reload()
    assert bench.ready == [3, 2]


def test_unload_of_several_versions_is_answered_once_all_are_gone(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2, versions="all").begin()
    bench.signature(1).open_requests = 1
    waiting = bench.signature(1)
    assert bench.unload() is None
    bench.loader.tend(bench.now)
    assert bench.answer() is None
    waiting.open_requests = 0
    bench.loader.tend(bench.now)
    assert [text.partition(";")[0] for text in done(bench.answer())] == [
        "model m version 2: unloaded",
        "model m version 1: unloaded",
    ]


def test_unload_of_what_is_not_loaded_is_said_and_holds(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2).begin()
    assert done(bench.unload(1)) == ("model m: nothing of that was loaded",)


def test_a_version_that_leaves_may_be_loaded_again_meanwhile(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1).begin()
    old = bench.signature()
    old.open_requests = 1
    bench.unload(1)
    assert "is ready" in done(bench.load(1))[0]
    old.open_requests = 0
    bench.loader.tend(bench.now)
    assert [runner.is_closed for runner in bench.runners] == [True, False]
    assert bench.signature().runner is bench.runners[1]
    assert bench.states == {1: "ready"}


def test_a_label_points_at_a_ready_version_and_moves(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2, versions=2).begin()
    assert done(bench.label("stable", 1)) == ("model m: the label 'stable' points at version 1",)
    assert bench.signature("stable").version == 1
    assert done(bench.label("stable", 2)) == ("model m: the label 'stable' points at version 2, no longer at 1",)
    assert bench.signature("stable").version == 2
    assert bench.row(2).labels == ("stable",)
    assert done(bench.label("stable", None)) == ("model m: the label 'stable' is gone",)
    with pytest.raises(VersionNotFoundError, match="no version or label 'stable'"):
        bench.signature("stable")


def test_a_label_on_a_version_that_is_not_loaded_is_refused_and_names_those_that_are(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, 2, 3, versions=2).begin()
    text = refused(bench.label("stable", 1), VersionNotFoundError.code)
    assert "which is not loaded; loaded: 2, 3. Load it first: `predictd load m 1`" in text
    text = refused(bench.label("gone", None), VersionNotFoundError.code)
    assert "has no label 'gone'; it has none" in text


@pytest.mark.parametrize("label", ["", "3", "a b", "x" * 65, "../up"])
def test_what_can_be_no_label(tmp_path: Path, label: str) -> None:
    bench = LoaderBench(tmp_path, 1).begin()
    assert "can't be a label" in refused(bench.label(label, 1), "invalid_request")


def test_a_labelled_version_is_kept_and_goes_with_its_label(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1).begin()
    bench.label("stable", 1)
    bench.add(2)
    bench.look()
    assert bench.ready == [2, 1]
    bench.reload()
    assert bench.ready == [2, 1], "labels outlast a reload"
    assert "model m version 1: is served no longer" in done(bench.label("stable", 2))
    assert bench.ready == [2]


def test_unload_of_a_labelled_version_says_that_the_label_points_at_nothing_loaded(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1).begin()
    bench.label("stable", 1)
    assert "the label 'stable' still points at version 1" in done(bench.unload(1))[0]
    with pytest.raises(VersionNotFoundError, match="is there, but not loaded"):
        bench.signature("stable")


def test_reload_says_what_failed_and_what_was_done_besides(tmp_path: Path) -> None:
    bench = LoaderBench(tmp_path, 1, versions="all").begin()
    bench.add(2)
    bench.add(3)
    bench.troubles[3] = ValueError("three is broken")
    text = refused(bench.reload(), "model_load")
    assert "three is broken" in text
    assert "done: model m version 2 is ready" in text
    assert bench.ready == [2, 1]
    assert done(LoaderBench(tmp_path / "other", 1).begin().reload()) == ("model m: is served as it is wanted",)


# --- the desk ---------------------------------------------------------------------------------------------------------


def test_the_desk_bounds_what_waits() -> None:
    desk = OrderDesk(most=2)
    for number in range(2):
        desk.take_in(ReloadRequest(id=number), b"p")
    with pytest.raises(OverloadedError) as refusal:
        desk.take_in(ReloadRequest(id=2), b"p")
    assert refusal.value.retry_after_ms
    order = desk.next(0)
    assert order is not None
    desk.answer(order, OrderResponse(id=0))
    assert desk.take_answers() == [(b"p", OrderResponse(id=0))]
    desk.take_in(ReloadRequest(id=3), b"p")


def test_an_order_whose_time_is_up_is_not_carried_out() -> None:
    now = [0.0]
    desk = OrderDesk(clock=lambda: now[0])
    desk.take_in(LoadRequest(id=1, model="m", timeout_ms=1000.0), b"late")
    desk.take_in(LoadRequest(id=2, model="m"), b"patient")
    now[0] = 1.0
    order = desk.next(0)
    assert order is not None
    assert order.request.id == 2
    [(peer, answer)] = desk.take_answers()
    assert peer == b"late"
    assert "was not carried out" in refused(answer, "expired_in_queue")


def test_answers_wake_who_waits_for_them() -> None:
    desk = OrderDesk()
    desk.take_in(ReloadRequest(id=1), b"p")
    assert not select.select([desk], [], [], 0)[0]
    order = desk.next(0)
    assert order is not None
    desk.answer(order, OrderResponse(id=1))
    assert select.select([desk], [], [], 0)[0]
    desk.take_answers()
    assert not select.select([desk], [], [], 0)[0]


def test_a_closed_desk_answers_what_waits_and_takes_no_more() -> None:
    desk = OrderDesk()
    desk.take_in(ReloadRequest(id=1), b"p")
    desk.close()
    [(_, answer)] = desk.take_answers()
    refused(answer, ServerDrainingError.code)
    assert desk.next(None) is None
    with pytest.raises(ServerDrainingError):
        desk.take_in(ReloadRequest(id=2), b"p")

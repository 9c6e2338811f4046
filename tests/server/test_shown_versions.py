"""More versions, models and entries than a list on the wire holds: clients are told of those that matter."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import predictd
from predictd_proto.limits import MAX_LIST_ITEMS
from predictd_proto.metadata import ModelMetadata
from predictd_server.engine import Engine
from predictd_server.models.registry import Registry, ServedModel
from predictd_server.models.settings import ModelSettings
from predictd_server.settings import Settings
from predictd_server.shown_versions import shown_versions
from tests.server.fake_model import CoreBench
from tests.server.pump_bench import report_of, running_pump


def versions(name: str, count: int, **states: str) -> list[ModelMetadata]:
    return [
        ModelMetadata(name=name, version=number, state=states.get(f"v{number}", "available"))
        for number in range(count, 0, -1)
    ]


@settings(deadline=None, max_examples=30)
@given(
    counts=st.lists(st.integers(1, 900), min_size=1, max_size=4),
    marked=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 899)), max_size=50),
)
def test_all_that_is_served_is_shown_and_of_the_rest_the_newest(
    counts: list[int], marked: list[tuple[int, int]]
) -> None:
    models = [version for index, count in enumerate(counts) for version in versions(f"m{index}", count)]
    busy = {(f"m{index}", number) for index, number in marked}
    models = [
        replace(each, state=("ready", "loading", "unloading")[each.version % 3])
        if (each.name, each.version) in busy
        else replace(each, state=("available", "failed")[each.version % 2])
        for each in models
    ]
    shown = [(each.name, each.version) for each in shown_versions(tuple(models))]
    every = [(each.name, each.version) for each in models]
    kept = set(shown)
    assert len(shown) == len(kept) == min(len(models), MAX_LIST_ITEMS)
    assert [each for each in every if each in kept] == shown, "in another order"
    assert kept >= busy & set(every)
    oldest = {name: min(number for other, number in kept - busy if other == name) for name, _ in kept - busy}
    assert all(number < oldest.get(name, 1) for name, number in set(every) - kept)


def test_a_model_with_thousands_of_versions_is_served_and_told_of() -> None:
    with running_pump(runs_inline=True) as pump, predictd.Client(pump.endpoint) as client:
        registry = pump.core._registry
        assert isinstance(registry, Registry)
        for version in versions("m", 1500)[:-1]:
            registry.put(ServedModel(version))
        told = client.models("m")
        assert (len(told), told[0].version, told[-1].version, told[-1].state) == (MAX_LIST_ITEMS, 1500, 1, "ready")
        assert len(client.status().models) == MAX_LIST_ITEMS
        assert client.predict("m", np.ones((1, 3), np.float32)).receipt.version == 1


def test_a_server_of_thousands_of_models_is_reached_and_told_of() -> None:
    with running_pump(runs_inline=True) as pump, predictd.Client(pump.endpoint) as client:
        for number in range(1500):
            pump.core._registry.put(ServedModel(ModelMetadata(name=f"n{number}", version=1, state="available")))
            signature = replace(pump.core._registry.find("m", None, None), model=f"n{number}")
            pump.core.admission.model(signature)
        status = client.status()
        assert status.is_ready
        assert (len(status.models), len(status.loads)) == (MAX_LIST_ITEMS, MAX_LIST_ITEMS)
        assert [model.name for model in client.models("n1499")] == ["n1499"]
        assert client.predict("m", np.ones((1, 3), np.float32)).receipt.version == 1


def test_thousands_of_entries_are_as_many_as_a_status_holds(tmp_path: Path) -> None:
    entries = tuple(ModelSettings(name=f"n{number}", path=tmp_path) for number in range(1500))
    bench = CoreBench()
    with running_pump() as pump:
        report = report_of(bench, pump.frontend, Engine(bench.counters, wake=lambda: None))
        value, _ = replace(report, settings=Settings(models=entries)).status().settings["models"]
    assert len(value) == MAX_LIST_ITEMS

"""What a load or an unload is said to have taken or given back, and when that can't be told. No TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from predictd_server.models import version_loading
from predictd_server.models.departures import Departures
from predictd_server.models.growth import Growth
from predictd_server.models.version_loading import VersionLoading
from predictd_server.runner import LoadedModel, LoadedSignature
from predictd_server.settings import Settings
from tests.model_files import keras_file
from tests.server.fake_model import DoublingRunner, doubling_spec, served
from tests.server.sample_models import bare_file, settings_of
from tests.server.upkeep_bench import UpkeepBench, done

MB = 1_000_000


class FakeBackend:
    """Loads a model at once.

    Attributes:
        meanwhile: Called during the load.
    """

    def __init__(self) -> None:
        self.meanwhile: Callable[[], object] = lambda: None

    def start(self, settings: Settings) -> dict[str, Any]:
        return {"backend": "fake"}

    def load(self, *args: object) -> LoadedModel:
        self.meanwhile()
        signature = LoadedSignature(doubling_spec((None, 3)), DoublingRunner())
        return LoadedModel({"serve": signature}, "serve", parameters=None, digest="sha256:0", source="m.keras")


@pytest.fixture
def resident(monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Return what the process's memory is said to be, to be changed."""
    held: list[int | None] = [1000 * MB]
    for module in ("growth", "departures"):
        monkeypatch.setattr(f"predictd_server.models.{module}.resident_bytes", lambda: held[0])
    return held


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> FakeBackend:
    fake = FakeBackend()
    monkeypatch.setattr(version_loading, "choose_backend", lambda settings: fake)
    monkeypatch.setattr(version_loading, "_set_aside_libraries", lambda: None)
    return fake


def test_growth_is_told_unless_something_left_meanwhile_or_nothing_is_known(resident: list[int | None]) -> None:
    releases = [0]
    growth = Growth(lambda: releases[0])
    resident[0] = 1010 * MB
    assert growth.bytes() == 10 * MB
    resident[0] = 990 * MB
    assert growth.bytes() == 0
    resident[0] = None
    assert growth.bytes() is None
    resident[0] = 1010 * MB
    releases[0] += 1
    assert growth.bytes() is None


@pytest.mark.parametrize("grown_mb", [10, 100])
@pytest.mark.parametrize("is_alone", [True, False])
def test_a_load_during_which_a_version_left_tells_no_memory_and_gives_back_what_it_may_have_left(
    tmp_path: Path,
    backend: FakeBackend,
    resident: list[int | None],
    monkeypatch: pytest.MonkeyPatch,
    grown_mb: int,
    *,
    is_alone: bool,
) -> None:
    departures = Departures(lambda: 0, reclaim=lambda: None, is_loading=lambda: True)
    loading = VersionLoading(Settings(), lambda: departures.steps)
    reclaimed: list[bool] = []
    monkeypatch.setattr(version_loading, "reclaim_memory", lambda: reclaimed.append(True))

    def meanwhile() -> None:
        resident[0] = (1000 + grown_mb) * MB
        if not is_alone:
            departures.add(served(doubling_spec((None, 3)), DoublingRunner()), 0)
            departures.tend()

    backend.meanwhile = meanwhile
    file = bare_file(tmp_path)
    keras_file(file.path)
    loaded = loading.load(file, settings_of(tmp_path))
    assert loaded.metadata.memory_bytes == (grown_mb * MB if is_alone else None)
    assert reclaimed == ([True] if grown_mb == 100 or not is_alone else [])


def test_a_release_counts_from_its_begin_to_its_end() -> None:
    steps: list[int] = []
    departures = Departures(lambda: 0, reclaim=lambda: steps.append(departures.steps), is_loading=lambda: False)
    departures.add(served(doubling_spec((None, 3)), DoublingRunner()), 0, lambda text: steps.append(departures.steps))
    departures.tend()
    assert steps == [1, 2]


def test_what_came_back_is_told_unless_a_version_is_loaded_meanwhile(
    tmp_path: Path, resident: list[int | None]
) -> None:
    bench = UpkeepBench(tmp_path, 1, 2, versions=2).begin()

    def on_reclaim() -> None:
        resident[0] = 700 * MB

    bench.on_reclaim = on_reclaim
    assert done(bench.unload(1)) == ("model m version 1: unloaded; 300.0 MB came back, 700 MB are in use",)
    bench.is_loading = True
    assert done(bench.unload(2)) == ("model m version 2: unloaded",)

"""Upkeep without a thread, without TensorFlow and without a clock: files on disk, fake loads, orders by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from predictd_proto.messages import ErrorResponse
from predictd_proto.metadata import ModelMetadata
from predictd_proto.orders import LabelRequest, LoadRequest, OrderRequest, OrderResponse, ReloadRequest, UnloadRequest
from predictd_server.models.departures import Departures
from predictd_server.models.files import ModelFile
from predictd_server.models.orders import OrderDesk
from predictd_server.models.registry import Registry, ServedModel
from predictd_server.models.repository import Repository
from predictd_server.models.settings import ModelSettings
from predictd_server.models.stock import Stock
from predictd_server.models.upkeep import Upkeep
from predictd_server.models.watch import Watch
from predictd_server.serving.served import ServedSignature
from tests.model_files import keras_file
from tests.server.fake_model import DoublingRunner, doubling_spec


class ClosingRunner(DoublingRunner):
    """Knows whether it was closed."""

    is_closed = False

    def close(self) -> None:
        assert not self.is_closed, "closed twice"
        self.is_closed = True


class UpkeepBench:
    """The upkeep of one model `m`, whose versions are directories of `path`, and of what entries `beside` it hold.

    Attributes:
        loads: The versions that were loaded, in order, failed ones too.
        troubles: What a load of a version raises.
        meanwhile: Called with each file while it is loaded.
        is_loading: Whether departures are told that a version is loaded.
        on_reclaim: Called when memory that nobody uses is given back.
        seen: The core's `seen_generation`; None for one that has seen all.
    """

    def __init__(
        self,
        path: Path,
        *versions: int,
        watch_s: float = 10.0,
        settle_s: float = 0.0,
        beside: Sequence[ModelSettings] = (),
        **fields: Any,
    ) -> None:
        self.path = path
        for version in versions:
            self.add(version)
        self.loads: list[int] = []
        self.runners: list[ClosingRunner] = []
        self.troubles: dict[int, BaseException] = {}
        self.meanwhile: Callable[[ModelFile], object] = lambda file: None
        self.seen: int | None = None
        self.now = 0.0
        self.is_loading = False
        self.reclaimed = 0
        self.on_reclaim: Callable[[], object] = lambda: None
        self.registry = Registry()
        self.desk = OrderDesk(clock=lambda: self.now)
        repository = Repository([ModelSettings(**{"name": "m", "path": path, **fields}), *beside])
        departures = Departures(
            lambda: self.registry.generation if self.seen is None else self.seen, self._reclaim, lambda: self.is_loading
        )
        self.stock = Stock(self.registry, self._load, departures, self._reclaim)
        self.upkeep = Upkeep(
            registry=self.registry,
            repository=repository,
            watch=Watch(repository, interval_s=watch_s, settle_s=settle_s),
            stock=self.stock,
            departures=departures,
            desk=self.desk,
        )
        self.departures = departures

    def add(self, version: int) -> Path:
        """Write a version, or write it anew."""
        return keras_file(self.path / str(version) / "model.keras")

    def begin(self) -> UpkeepBench:
        """Load what is there at the start."""
        for file in self.upkeep.begin(self.now):
            self.upkeep.bring(file)
        return self

    def look(self) -> None:
        """Let so much time go by that the watch looks, twice, so that changes settle."""
        for _ in range(2):
            self.now += 100
            self.upkeep.tend(self.now)

    def give(self, request: OrderRequest) -> OrderResponse | ErrorResponse | None:
        """Give an order, and return its answer; None where it is not answered yet."""
        self.desk.take_in(request, b"peer")
        order = self.desk.next(0)
        if order is not None:
            self.upkeep.carry_out(order, self.now)
        return self.answer()

    def answer(self) -> Any:
        """Return the answer that waits; None where there is none."""
        answers = self.desk.take_answers()
        assert len(answers) <= 1
        return answers[0][1] if answers else None

    def load(self, version: int | None = None, model: str = "m") -> Any:
        return self.give(LoadRequest(id=1, model=model, version=version))

    def unload(self, version: int | None = None, model: str = "m") -> Any:
        answer = self.give(UnloadRequest(id=2, model=model, version=version))
        if answer is None:
            self.upkeep.tend(self.now)
            answer = self.answer()
        return answer

    def label(self, label: str, version: int | None) -> Any:
        return self.give(LabelRequest(id=3, model="m", label=label, version=version))

    def reload(self, model: str | None = None) -> Any:
        return self.give(ReloadRequest(id=4, model=model))

    @property
    def ready(self) -> list[int]:
        """The versions that are served, newest first."""
        return [metadata.version for metadata in self.rows if metadata.is_ready]

    @property
    def rows(self) -> tuple[ModelMetadata, ...]:
        """What clients see."""
        return self.registry.metadata("m") if "m" in self.registry.names() else ()

    @property
    def states(self) -> dict[int, str]:
        """The versions' states."""
        return {metadata.version: metadata.state for metadata in self.rows}

    def row(self, version: int) -> ModelMetadata:
        """What clients see of a version."""
        return next(metadata for metadata in self.rows if metadata.version == version)

    def signature(self, version: int | str | None = None) -> ServedSignature:
        """What serves a request."""
        return self.registry.find("m", version, None)

    def _load(self, file: ModelFile, settings: ModelSettings) -> ServedModel:
        self.loads.append(file.version)
        self.meanwhile(file)
        trouble = self.troubles.get(file.version)
        if trouble is not None:
            raise trouble
        runner, spec = ClosingRunner(), doubling_spec((None, 3))
        self.runners.append(runner)
        metadata = ModelMetadata(
            name=file.name, version=file.version, state="ready", signatures=(spec,), default_signature="serve"
        )
        signature = ServedSignature(file.name, file.version, spec, runner, (1, 8), settings=settings)
        return ServedModel(metadata, {"serve": signature})

    def _reclaim(self) -> None:
        self.reclaimed += 1
        self.on_reclaim()


def done(answer: object) -> tuple[str, ...]:
    """Return what an order did, by its answer."""
    assert isinstance(answer, OrderResponse), answer
    return answer.done


def refused(answer: object, code: str) -> str:
    """Return why an order was refused, by its answer."""
    assert isinstance(answer, ErrorResponse), answer
    assert answer.code == code, answer
    return answer.message

"""The loader: carries out what the start, the watch and clients' orders ask of the models.

Owns what each of them means, and the order of its steps: whatever comes is loaded, warmed and judged before anything
else goes. Loader thread; `loader_thread.py` calls it with the time. Requests are served meanwhile.
"""

from __future__ import annotations

import logging

from predictd_proto.errors import InvalidRequestError, ModelLoadError, PredictdError, VersionNotFoundError
from predictd_proto.facts import safe_text
from predictd_proto.limits import MAX_MESSAGE_TEXT
from predictd_proto.metadata import ModelMetadata
from predictd_proto.orders import LabelRequest, LoadRequest, OrderResponse, ReloadRequest, UnloadRequest
from predictd_server.models.departures import Departures
from predictd_server.models.fields import KEY_PATTERNS
from predictd_server.models.files import ModelFile
from predictd_server.models.lifecycle import due_loads, due_unloads, labels_of, newest_wanted, wanted_problems
from predictd_server.models.orders import Order, OrderDesk
from predictd_server.models.registry import Registry
from predictd_server.models.repository import Repository
from predictd_server.models.stock import Stock
from predictd_server.models.watch import Watch

_log = logging.getLogger("predictd")

#: While versions leave, it is looked this often whether somebody still needs them.
DEPARTURES_S = 0.05


class Loader:
    """Carries out looks and orders.

    Args:
        registry: Where models are published.
        repository: What there is.
        watch: When to look again, and what has changed.
        stock: The models as they stand.
        departures: What leaves.
        desk: Where answers go.
    """

    def __init__(
        self,
        *,
        registry: Registry,
        repository: Repository,
        watch: Watch,
        stock: Stock,
        departures: Departures,
        desk: OrderDesk,
    ) -> None:
        self._registry = registry
        self._repository = repository
        self._watch = watch
        self._stock = stock
        self._departures = departures
        self._desk = desk

    # --- start, watch ------------------------------------------------------------------------------------------------

    def begin(self, now_s: float) -> list[ModelFile]:
        """Look for the first time, and return what is to be loaded, in order."""
        self._look_anew(None, now_s)
        files = [file for name in self._stock for file in due_loads(self._stock.standing(name))]
        for file in files:
            self._stock.announce(file)
        return files

    def bring(self, file: ModelFile) -> bool:
        """Load one version of those that `begin` returned; return whether it could be."""
        try:
            self._stock.bring(file)
        except ModelLoadError:
            return False
        return True

    def tend(self, now_s: float) -> float | None:
        """Do what the time asks for; return how long nothing else will, None for ever."""
        self._departures.tend()
        wait_s = self._watch.wait_s(now_s)
        if wait_s is not None and wait_s <= 0:
            self._look(now_s)
            wait_s = self._watch.wait_s(now_s)
        if len(self._departures):
            return DEPARTURES_S if wait_s is None else min(wait_s, DEPARTURES_S)
        return wait_s

    def _look(self, now_s: float) -> None:
        change = self._watch.look(now_s)
        for text in change.news:
            _log.warning("%s", text)
        for name, found in change.models.items():
            self._stock.take(name, found)
        for name in change.models:
            self._follow(name)

    def _look_anew(self, name: str | None, now_s: float) -> None:
        """Look at one model, or at all, and take what is there as it is: whoever orders it says that it is whole."""
        found = self._repository.look()
        if name is not None:
            found = {key: model for key, model in found.items() if key == name}
        for text in self._watch.take(found, now_s):
            _log.warning("%s", text)
        for key, model in found.items():
            self._stock.take(key, model)

    def _follow(self, name: str, *, retries: bool = False) -> tuple[list[str], list[ModelLoadError]]:
        """Do with a model what its policy and its orders want; return what was done, and what failed."""
        done: list[str] = []
        errors: list[ModelLoadError] = []
        for file in due_loads(self._stock.standing(name), retries=retries):
            try:
                done.append(self._stock.bring(file))
            except ModelLoadError as error:
                errors.append(error)
        return done + self._let_surplus_go(name), errors

    def _let_surplus_go(self, name: str) -> list[str]:
        return [self._stock.let_go(name, version, _nobody) for version in due_unloads(self._stock.standing(name))]

    # --- orders ------------------------------------------------------------------------------------------------------

    def carry_out(self, order: Order, now_s: float) -> None:
        """Carry out an order; it is answered now, or, where something has to leave first, as soon as it has left."""
        request = order.request
        try:
            if isinstance(request, LoadRequest):
                self._answer(order, self._load(request, now_s))
            elif isinstance(request, UnloadRequest):
                self._unload(order, request)
            elif isinstance(request, LabelRequest):
                self._answer(order, self._label(request))
            else:
                self._answer(order, self._reload(request, now_s))
        except PredictdError as error:
            self._desk.fail(order, error)

    def _load(self, request: LoadRequest, now_s: float) -> list[str]:
        name = request.model
        self._look_anew(name, now_s)
        standing = self._stock.standing(name)
        problems = standing.found.problems
        version = newest_wanted(standing) if request.version is None else request.version
        if version is None:
            text = f"model {name!r} has no version that could be loaded: {_listed(problems, standing.found.notes)}"
            raise ModelLoadError(text)
        if version not in standing.found.versions:
            if version in problems:
                raise ModelLoadError(problems[version])
            raise _no_such_version(name, version, sorted(standing.found.versions))
        if request.version is None:
            self._stock.order(name, standing.will.with_newest(version))
        else:
            self._stock.order(name, standing.will.with_loaded(version))
        standing = self._stock.standing(name)
        file = standing.found.versions[version]
        if standing.ready.get(version) == standing.found.fingerprints.get(version):
            done = [f"model {name} version {version}: was ready before"]
        else:
            done = [self._stock.bring(file)]
        return done + self._let_surplus_go(name)

    def _unload(self, order: Order, request: UnloadRequest) -> None:
        name, version = request.model, request.version
        standing = self._stock.standing(name)
        there = {*standing.found.versions, *standing.found.problems, *standing.ready}
        if version is not None and version not in there:
            raise _no_such_version(name, version, sorted(there))
        self._stock.order(name, standing.will.with_unloaded(version))
        leaving = [number for number in sorted(standing.ready) if version in {None, number}]
        done: list[str] = [] if leaving else [f"model {name}: nothing of that was loaded"]
        done += [
            f"model {name}: the label {label!r} still points at version {number}"
            for label, number in sorted(labels_of(standing).items())
            if number in leaving
        ]
        if not leaving:
            self._answer(order, done)
            return
        left = set(leaving)
        for number in leaving:

            def gone(text: str, number: int = number) -> None:
                done.append(text)
                left.discard(number)
                if not left:
                    self._answer(order, done)

            self._stock.let_go(name, number, gone)

    def _label(self, request: LabelRequest) -> list[str]:
        name, label, version = request.model, request.label, request.version
        standing = self._stock.standing(name)
        labels = labels_of(standing)
        if version is None:
            if label not in labels:
                have = ", ".join(f"{key!r} (version {number})" for key, number in sorted(labels.items())) or "none"
                text = f"model {name!r} has no label {label!r}; it has {have}"
                raise VersionNotFoundError(text)
        elif version not in standing.ready:
            ready = ", ".join(map(str, sorted(standing.ready))) or "none"
            text = (
                f"model {name!r}: the label {label!r} can't point at version {version}, which is not loaded; loaded: "
                f"{ready}. Load it first: `predictd load {name} {version}`"
            )
            raise VersionNotFoundError(text)
        _check_label(label)
        self._stock.order(name, standing.will.with_label(label, version))
        was = f", no longer at {labels[label]}" if label in labels and labels[label] != version else ""
        points = "is gone" if version is None else f"points at version {version}{was}"
        text = f"model {name}: the label {label!r} {points}"
        _log.info("%s", text)
        # The version that it pointed at before may be one that only its label kept.
        return [text, *self._let_surplus_go(name)]

    def _reload(self, request: ReloadRequest, now_s: float) -> list[str]:
        self._look_anew(request.model, now_s)
        names = list(self._stock) if request.model is None else [request.model]
        done: list[str] = []
        errors: list[ModelLoadError] = []
        for name in names:
            standing = self._stock.standing(name)
            self._stock.order(name, standing.will.forgotten())
            more, failed = self._follow(name, retries=True)
            failed += [ModelLoadError(text) for text in wanted_problems(self._stock.standing(name)).values()]
            done += more or ([] if failed else [f"model {name}: is served as it is wanted"])
            errors += failed
        if errors:
            also = f" (done: {'; '.join(done)})" if done else ""
            text = "; ".join(error.message for error in errors) + also
            raise ModelLoadError(text)
        return done

    def _answer(self, order: Order, done: list[str]) -> None:
        name = order.request.model
        models: tuple[ModelMetadata, ...] = ()
        if name is None or name in self._registry.names():
            models = self._registry.metadata(name)
        texts = tuple(safe_text(text, MAX_MESSAGE_TEXT) for text in done)
        self._desk.answer(order, OrderResponse(id=order.request.id, done=texts, models=models))


def _nobody(text: str) -> None:
    del text


def _check_label(label: str) -> None:
    pattern, rule = KEY_PATTERNS["labels"]
    if not pattern.fullmatch(label):
        text = f"{label!r} can't be a label; expected {rule}"
        raise InvalidRequestError(text)


def _listed(problems: dict[int, str], notes: tuple[str, ...]) -> str:
    return "; ".join([*problems.values(), *notes]) or "its configuration wants none of those that are there"


def _no_such_version(name: str, version: int, there: list[int]) -> VersionNotFoundError:
    have = ", ".join(map(str, there)) or "none"
    return VersionNotFoundError(f"model {name!r} has no version {version} to load or unload; there are: {have}")

"""The upkeep of the models: carries out what the start, the watch and clients' orders ask.

Owns what each of them means, and the order of its steps: whatever comes is loaded, warmed and judged before anything
else goes. Models thread; `models_thread.py` calls it with the time. Requests are served meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from predictd_proto.errors import ModelLoadError, PredictdError
from predictd_proto.metadata import ModelMetadata
from predictd_proto.orders import LabelRequest, LoadRequest, OrderResponse, ReloadRequest, UnloadRequest
from predictd_server.models.departures import Departures
from predictd_server.models.files import ModelFile
from predictd_server.models.lifecycle import (
    due_loads,
    due_unloads,
    labels_of,
    waiting_for_room,
    wanted_problems,
)
from predictd_server.models.order_rules import (
    broken,
    check_label,
    cut_to_fit,
    file_to_load,
    no_such_version,
    nothing_to_load,
    told,
)
from predictd_server.models.orders import Order, OrderDesk
from predictd_server.models.registry import LOADING, Registry
from predictd_server.models.repository import Repository
from predictd_server.models.stock import Stock
from predictd_server.models.watch import Watch, gone
from predictd_server.serving.refusals import fault
from predictd_server.shown_versions import shown_versions

_log = logging.getLogger("predictd")

#: While versions leave, it is looked this often whether somebody still needs them.
DEPARTURES_S = 0.05


class Upkeep:
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
        self._has_room = False

    # --- start, watch ------------------------------------------------------------------------------------------------

    def begin(self, now_s: float) -> list[ModelFile]:
        """Look for the first time, and return what is to be loaded, in order."""
        self._look_anew(None, now_s)
        files = [file for name in self._stock for file in due_loads(self._stock.standing(name))]
        for file in files:
            self._stock.announce(file)
        return files

    def bring(self, file: ModelFile) -> bool:
        """Load one version, of those that `begin` returned perhaps; return whether it could be."""
        try:
            self._bring(file)
        except ModelLoadError:
            return False
        return True

    def tend(self, now_s: float) -> float | None:
        """Do what the time asks for; return how long nothing else will, None for ever."""
        self._release()
        if self._has_room:
            self._use_room()
        wait_s = self._watch.wait_s(now_s)
        if wait_s is not None and wait_s <= 0:
            self._look(now_s)
            wait_s = self._watch.wait_s(now_s)
        return 0.0 if self._has_room else self._within_departures(wait_s)

    def attend(self, wait_s: float | None, now_s: float) -> bool:
        """Do, while a version is loaded, what needs not wait for that; return whether there was an order among it.

        Args:
            wait_s: How long to wait for such an order; None for as long as it takes, or until the desk is woken.
            now_s: The time.
        """
        self._release()
        order = self._desk.next_label(self._within_departures(wait_s))
        if order is not None:
            self.carry_out(order, now_s)
        return order is not None

    def _bring(self, file: ModelFile) -> str:
        # First: what can leave may take the room that this one needs.
        self._release()
        return self._stock.bring(file)

    def _release(self) -> None:
        if self._departures.tend():
            self._has_room = True

    def _within_departures(self, wait_s: float | None) -> float | None:
        if not len(self._departures):
            return wait_s
        return DEPARTURES_S if wait_s is None else min(wait_s, DEPARTURES_S)

    def _use_room(self) -> None:
        """Try once more what did not fit into memory, since a version has left it."""
        self._has_room = False
        for name in self._stock:
            files = waiting_for_room(self._stock.standing(name))
            if any([self.bring(file) for file in files]):
                self._let_surplus_go(name)

    def _look(self, now_s: float) -> None:
        change = self._watch.look(now_s)
        for text in change.news:
            _log.warning("%s", text)
        for name, found in change.models.items():
            self._stock.take(name, found)
        for name in change.models:
            self._follow(name)

    def _look_anew(self, name: str | None, now_s: float) -> set[str]:
        """Look at one model, or at all, and take what is there as it is: whoever orders it says that it is whole.

        Returns:
            The names of the models that are there, or whose path the configuration gives.
        """
        found = self._repository.look()
        there = set(found)
        for known in self._stock:
            if known not in found:
                found[known] = gone(self._stock.standing(known).found.settings, self._repository.refused)
        if name is not None:
            found = {key: model for key, model in found.items() if key == name}
        for text in self._watch.take(found, now_s):
            _log.warning("%s", text)
        for key, model in found.items():
            self._stock.take(key, model)
        return there

    def _follow(self, name: str, *, retries: bool = False) -> tuple[list[str], list[ModelLoadError]]:
        """Do with a model what its policy and its orders want; return what was done, and what failed."""
        done: list[str] = []
        errors: list[ModelLoadError] = []
        for file in due_loads(self._stock.standing(name), retries=retries):
            try:
                done.append(self._bring(file))
            except ModelLoadError as error:
                errors.append(error)
        return done + self._let_surplus_go(name), errors

    def _let_surplus_go(self, name: str) -> list[str]:
        return [self._stock.let_go(name, version, _nobody) for version in due_unloads(self._stock.standing(name))]

    # --- orders ------------------------------------------------------------------------------------------------------

    def carry_out(self, order: Order, now_s: float) -> None:
        """Carry out an order; it is answered now, or, where something has to leave first, as soon as it has left."""
        self._guard(order, lambda: self._carry_out(order, now_s))

    def _carry_out(self, order: Order, now_s: float) -> None:
        request = order.request
        if isinstance(request, LoadRequest):
            self._answer(order, self._load(request, now_s))
        elif isinstance(request, UnloadRequest):
            self._unload(order, request)
        elif isinstance(request, LabelRequest):
            self._answer(order, self._label(request))
        else:
            self._answer(order, self._reload(request, now_s))

    def _guard(self, order: Order, step: Callable[[], None]) -> None:
        try:
            step()
        except PredictdError as error:
            self._desk.fail(order, error)
        except Exception:  # a bug of ours must neither end the thread nor leave a client without an answer
            _log.exception("internal error while carrying out %s", order.request)
            self._desk.fail(order, fault("carrying out the order"))

    def _load(self, request: LoadRequest, now_s: float) -> list[str]:
        """Serve a version: the one that is named, or the newest and then what else is wanted (labels, the default).

        The order is noted once it is done: one that failed was told to whoever gave it, and holds for nobody.
        """
        name = request.model
        self._look_anew(name, now_s)
        standing = self._stock.standing(name)
        file = file_to_load(standing, request.version)
        if standing.ready.get(file.version) == standing.found.fingerprints.get(file.version):
            done = [f"model {name} version {file.version}: was ready before"]
        else:
            done = [self._bring(file)]
        # Anew: labels may have been set during the load.
        will = self._stock.standing(name).will
        if request.version is not None:
            self._stock.order(name, will.with_loaded(file.version))
            return done + self._let_surplus_go(name)
        self._stock.order(name, will.with_newest(file.version))
        more, errors = self._follow(name)
        return told(done + more, errors)

    def _unload(self, order: Order, request: UnloadRequest) -> None:
        """Let versions go; the order is answered when they, and those of them that leave already, are out of memory."""
        name, version = request.model, request.version
        standing = self._stock.standing(name)
        there = {*standing.found.versions, *standing.found.problems, *standing.ready, *self._departures.versions(name)}
        if version is not None and version not in there:
            raise no_such_version(name, version, sorted(there))
        self._stock.order(name, standing.will.with_unloaded(version))
        going = [number for number in sorted(standing.ready) if version in {None, number}]
        done = [
            f"model {name}: the label {label!r} still points at version {number}"
            for label, number in sorted(labels_of(standing).items())
            if number in going
        ]
        awaited = len(going)

        def left_memory(text: str) -> None:
            nonlocal awaited
            awaited -= 1
            done.append(text)
            if not awaited:
                self._guard(order, lambda: self._answer(order, done))

        awaited += self._departures.tell(name, version, left_memory)
        if not awaited:
            self._answer(order, [f"model {name}: nothing of that was loaded"])
        for number in going:
            self._stock.let_go(name, number, left_memory)

    def _label(self, request: LabelRequest) -> list[str]:
        name, label, version = request.model, request.label, request.version
        standing = self._stock.standing(name)
        shown = None if version is None else self._registry.get(name, version)
        check_label(standing, label, version, is_coming=shown is not None and shown.metadata.state == LOADING)
        labels = labels_of(standing)
        self._stock.order(name, standing.will.with_label(label, version))
        was = f", no longer at {labels[label]}" if label in labels and labels[label] != version else ""
        points = "is gone" if version is None else f"points at version {version}{was}"
        text = f"model {name}: the label {label!r} {points}"
        _log.info("%s", text)
        # The version that it pointed at before may be one that only its label kept.
        return [text, *self._let_surplus_go(name)]

    def _reload(self, request: ReloadRequest, now_s: float) -> list[str]:
        there = self._look_anew(request.model, now_s)
        if request.model is not None:
            names = [request.model]
        else:
            # What came and went in a directory of models is missed by nobody, unless it is served.
            names = [name for name in self._stock if name in there or self._stock.standing(name).ready]
        done: list[str] = []
        errors: list[ModelLoadError] = []
        for name in names:
            more, failed = self._reload_one(name)
            done += more or ([] if failed else [f"model {name}: is served as it is wanted"])
            errors += failed
        return told(done, errors)

    def _reload_one(self, name: str) -> tuple[list[str], list[ModelLoadError]]:
        self._stock.order(name, self._stock.standing(name).will.forgotten())
        done, errors = self._follow(name, retries=True)
        standing = self._stock.standing(name)
        problems = wanted_problems(standing)
        errors += [broken(standing, version) for version in problems]
        if not problems and not standing.found.versions:
            errors.append(nothing_to_load(standing))
        return done, errors

    def _answer(self, order: Order, done: list[str]) -> None:
        name = order.request.model
        models: tuple[ModelMetadata, ...] = ()
        if name is None or name in self._registry.names():
            models = shown_versions(self._registry.metadata(name))
        self._desk.answer(order, OrderResponse(id=order.request.id, done=cut_to_fit(done), models=models))


def _nobody(text: str) -> None:
    del text

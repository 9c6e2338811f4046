"""The stock: every model as it stands, and the single steps that change it: bring a version, let one go, show the rest.

Owns what is known of each model beside what serves it: its files' states, failed attempts and what was ordered. Which
step comes next is `lifecycle.py`'s. Models thread; while a version is loaded others of its steps may be taken.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from predictd_proto.errors import ModelLoadError, ModelNotFoundError, PredictdError, ServerDrainingError
from predictd_proto.facts import safe_text
from predictd_proto.quantities import bytes_text, counted
from predictd_server.models.contents import Fingerprint, fingerprint
from predictd_server.models.departures import Departures
from predictd_server.models.files import ModelFile
from predictd_server.models.found import Found
from predictd_server.models.lifecycle import KEPT, Failure, Standing, Will, labels_of, wanted_versions
from predictd_server.models.registry import LOADING, UNLOADING, Registry, ServedModel
from predictd_server.models.rows import is_news, not_served, ready_text, shown_notes
from predictd_server.models.settings import ModelSettings
from predictd_server.models.version_loading import MOST_TEXT, unloaded

_log = logging.getLogger("predictd")

Load = Callable[[ModelFile, ModelSettings], ServedModel]


@dataclass(slots=True, eq=False)
class _Model:
    """What is known of one model; see `Standing`.

    Attributes:
        coming: Versions that were announced, and are not loaded yet and have not failed.
        notes: What there is to say of versions that are not loaded.
    """

    found: Found
    ready: dict[int, Fingerprint] = field(default_factory=dict)
    failures: dict[int, Failure] = field(default_factory=dict)
    will: Will = field(default_factory=Will)
    coming: set[int] = field(default_factory=set)
    notes: dict[int, str] = field(default_factory=dict)

    def standing(self) -> Standing:
        return Standing(self.found, dict(self.ready), dict(self.failures), self.will)

    def reason(self, version: int) -> str:
        """Return why the last attempt to load a version failed, and what it waits for; empty where it did not."""
        failure = self.failures.get(version)
        if failure is None:
            return ""
        if failure.missing_bytes is None or version not in wanted_versions(self.standing()):
            return failure.reason
        missing = bytes_text(failure.missing_bytes)
        waits = f"it waits for room: {missing} are missing, and it is tried again when a version has left"
        return f"{failure.reason}; {waits}"


class Stock:
    """The models as they stand.

    Args:
        registry: Where versions are published.
        load: Loads a version; may raise anything. A ServerDrainingError says that it was not begun.
        departures: Where versions go that are served no longer.
        reclaim: Gives memory that nobody uses back to the system.
    """

    def __init__(self, registry: Registry, load: Load, departures: Departures, reclaim: Callable[[], None]) -> None:
        self._registry = registry
        self._load = load
        self._departures = departures
        self._reclaim = reclaim
        self._models: dict[str, _Model] = {}

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._models))

    def take(self, name: str, found: Found) -> None:
        """Note what there is of a model now."""
        model = self._models.get(name)
        if model is None:
            self._models[name] = _Model(found)
        elif model.found == found:
            return
        else:
            model.found = found
        self.show(name)

    def standing(self, name: str) -> Standing:
        """Return how a model stands.

        Raises:
            ModelNotFoundError: There is none of that name.
        """
        model = self._models.get(name)
        if model is None:
            have = ", ".join(map(repr, self)) or "none"
            text = (
                f"no model {name!r} is there; there are {have}. Orders are for models that the server is configured "
                "with: add it to the server's configuration"
            )
            raise ModelNotFoundError(text)
        return model.standing()

    def order(self, name: str, will: Will) -> None:
        """Note what was ordered of a model."""
        self._models[name].will = will
        self.show(name)

    def announce(self, file: ModelFile) -> None:
        """Show a version as one that is coming, until it is there or has failed."""
        self._models[file.name].coming.add(file.version)
        self._put(unloaded(file, LOADING))
        self._name(file.name)

    # --- steps -------------------------------------------------------------------------------------------------------

    def bring(self, file: ModelFile) -> str:
        """Load a version and publish it; what served its number before leaves.

        Returns:
            What was done.

        Raises:
            ModelLoadError: It could not be loaded, and nothing has changed but the reason that is shown.
            ServerDrainingError: Nothing is loaded any more: the server shuts down. That is no failure of the version.
        """
        model = self._models[file.name]
        if file.version not in model.ready:
            self.announce(file)
        try:
            return self._bring(model, file)
        finally:
            # Only a shutdown or a fault of ours leaves it there.
            if file.version in model.coming:
                model.coming.discard(file.version)
                self.show(file.name)

    def _bring(self, model: _Model, file: ModelFile) -> str:
        state = fingerprint(file)
        served = self._loaded(file, model.found.settings, state)
        if isinstance(served, ModelLoadError):
            self._note_failure(model, file, state, served)
            raise served
        # Now, not before the load: it may have been let go of meanwhile.
        before = self._registry.get(file.name, file.version) if file.version in model.ready else None
        model.coming.discard(file.version)
        model.ready[file.version] = state
        model.failures.pop(file.version, None)
        model.notes.pop(file.version, None)
        self._registry.put(served)
        self._name(file.name)
        if before is not None:
            self._departures.add(before, self._registry.generation)
        text = ready_text(served.metadata)
        _log.info("%s", text)
        return text

    def _note_failure(self, model: _Model, file: ModelFile, state: Fingerprint, error: ModelLoadError) -> None:
        missing_bytes = None
        if "needs_bytes" in error.detail:
            missing_bytes = error.detail["needs_bytes"] - error.detail["left_bytes"]
        model.coming.discard(file.version)
        model.failures[file.version] = Failure(state, error.message, missing_bytes)
        # What a load leaves behind when it is broken off is as large as the model.
        self._reclaim()
        self.show(file.name)
        _log.error("model %s version %d: %s", file.name, file.version, error.message)

    def _loaded(self, file: ModelFile, settings: ModelSettings, state: Fingerprint) -> ServedModel | ModelLoadError:
        """Return the version, or why there is none: what is raised would hold in its frames what was loaded so far."""
        served = self._attempt(file, settings)
        if isinstance(served, ModelLoadError) or fingerprint(file) == state:
            return served
        for signature in served.signatures.values():
            signature.runner.close()
        text = (
            f"{file.path}: changed while it was loaded; with watch_s it is tried again by itself, else order it "
            f"when its files are whole: `predictd load {file.name} {file.version}`"
        )
        return ModelLoadError(text)

    def _attempt(self, file: ModelFile, settings: ModelSettings) -> ServedModel | ModelLoadError:
        try:
            return self._load(file, settings)
        except ServerDrainingError:
            raise
        except PredictdError as error:
            return ModelLoadError(error.message, error.detail)
        except BaseException as error:  # code of a model or of a user's module, SystemExit included
            _log.debug("loading %s failed", file.path, exc_info=True)
            return ModelLoadError(f"{file.path}: {type(error).__name__}: {error}")

    def let_go(self, name: str, version: int, on_gone: Callable[[str], None]) -> str:
        """Serve a version no longer; requests that were admitted are finished.

        Args:
            name: The model's.
            version: One that is ready.
            on_gone: Told when it is out of memory, and how much came back.

        Returns:
            What was done.
        """
        model = self._models[name]
        served = self._registry.get(name, version)
        assert served is not None
        del model.ready[version]
        leaving = replace(served, metadata=replace(served.metadata, state=UNLOADING))
        self._registry.put(leaving)

        def gone(text: str) -> None:
            model.notes[version] = text
            shown = self._registry.get(name, version)
            if shown is not None and shown.signatures is leaving.signatures:
                self._registry.remove(name, version)
                self.show(name)

        self._departures.add(leaving, self._registry.generation, gone, on_gone)
        waiting = sum(signature.open_requests for signature in leaving.signatures.values())
        text = f"model {name} version {version}: is served no longer"
        if waiting:
            text += f"; {counted(waiting, 'request')} that it has {'is' if waiting == 1 else 'are'} finished first"
        _log.info("%s", text)
        return text

    # --- what is shown -----------------------------------------------------------------------------------------------

    def show(self, name: str) -> None:
        """Bring what clients see of a model's versions in line with what is known of them.

        The versions change in one step, however many there are; labels, default and notes follow.
        """
        model = self._models[name]
        there = _versions(model.found)
        shown = {served.metadata.version: served for served in self._registry.versions(name)}
        leaving = {version for version, served in shown.items() if served.metadata.state == UNLOADING}
        rows = [
            not_served(model.found, version, model.reason(version), model.notes.get(version))
            for version in there - leaving - model.coming - model.ready.keys()
        ]
        for version in model.ready.keys() & shown.keys():
            metadata = replace(shown[version].metadata, error=self._trouble(model, version))
            rows.append(replace(shown[version], metadata=metadata))
        news = [row for row in rows if is_news(row, shown.get(row.metadata.version))]
        gone = shown.keys() - there - leaving - model.coming - model.ready.keys()
        self._registry.update(name, news, gone)
        self._name(name)

    def _trouble(self, model: _Model, version: int) -> str:
        """Return why a version that is served is not served as its files are now; empty where it is."""
        reason = model.found.problems.get(version) or model.reason(version)
        if not reason and version not in model.found.versions:
            reason = "its files are gone" if _versions(model.found) else "; ".join(model.found.notes)
        return safe_text(f"{reason}; {KEPT}", MOST_TEXT) if reason else ""

    def _put(self, served: ServedModel) -> None:
        """Publish a version, unless it is shown just so: each change makes the core forget what it has recognised."""
        if is_news(served, self._registry.get(served.metadata.name, served.metadata.version)):
            self._registry.put(served)

    def _name(self, name: str) -> None:
        model = self._models[name]
        if not self._registry.versions(name):
            return
        labels = labels_of(model.standing())
        self._registry.set_labels(name, labels)
        self._registry.set_default(name, model.found.settings.default_version)
        self._registry.set_notes(name, shown_notes(model.found.notes))


def _versions(found: Found) -> set[int]:
    return {*found.versions, *found.problems}

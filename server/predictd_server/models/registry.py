"""The registry: which models and versions there are, in what state, and by which labels they go.

Owns the map from a request's model, version and signature to what serves it. Written by the models thread, read by the
pump and the control thread: every change replaces a model's whole record, so readers need no lock and never see half of
one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from predictd_proto.errors import (
    ModelLoadError,
    ModelNotFoundError,
    ModelNotReadyError,
    PredictdError,
    SignatureNotFoundError,
    VersionNotFoundError,
)
from predictd_proto.metadata import ModelMetadata
from predictd_server.serving.served import ServedSignature

AVAILABLE, LOADING, READY, UNLOADING, FAILED = "available", "loading", "ready", "unloading", "failed"

#: What to wait for a model that is loading: TensorFlow's start and a load take seconds.
LOADING_RETRY_MS = 500


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version of one model.

    Attributes:
        metadata: What clients get to see; its labels, `is_default` and `model_notes` are the registry's.
        signatures: What serves each signature; empty unless it is ready or unloading.
    """

    metadata: ModelMetadata
    signatures: dict[str, ServedSignature] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Model:
    """A model's whole record.

    Attributes:
        versions: Newest first.
        labels: Versions by label; they need not be there.
        default: What a request gets that names no version: a version or a label; None for the newest that is ready.
        notes: What there is to say of the model as a whole.
    """

    versions: tuple[ServedModel, ...] = ()
    labels: Mapping[str, int] = field(default_factory=dict)
    default: int | str | None = None
    notes: tuple[str, ...] = ()

    def by_number(self, version: int | None) -> ServedModel | None:
        return next((served for served in self.versions if served.metadata.version == version), None)

    def number_of(self, version: int | str) -> int | None:
        return self.labels.get(version) if isinstance(version, str) else version

    def newest_ready(self) -> ServedModel | None:
        return next((served for served in self.versions if served.metadata.is_ready), None)

    def told(self) -> _Model:
        """Return the record with each version's labels and `is_default` in its metadata, and the notes in one's."""
        chosen = self.newest_ready() if self.default is None else self.by_number(self.number_of(self.default))
        return replace(
            self, versions=tuple(self._told(served, is_default=served is chosen) for served in self.versions)
        )

    def _told(self, served: ServedModel, *, is_default: bool) -> ServedModel:
        metadata = served.metadata
        labels = tuple(sorted(label for label, number in self.labels.items() if number == metadata.version))
        notes = self.notes if served is self.versions[0] else ()
        if (metadata.labels, metadata.is_default, metadata.model_notes) == (labels, is_default, notes):
            return served
        told = replace(metadata, labels=labels, is_default=is_default, model_notes=notes)
        return replace(served, metadata=told)


_UNKNOWN = _Model()


class Registry:
    """Models by name and version.

    Attributes:
        generation: Counts the changes; what `find` said in another generation may no longer hold.
        is_starting: Not everything that is to be served at the start has been loaded or has failed.
        has_served: Some version has been ready, now or before.
    """

    def __init__(self) -> None:
        self._models: dict[str, _Model] = {}
        self.generation = 0
        self.is_starting = False
        self.has_served = False

    # --- the models thread's -----------------------------------------------------------------------------------------

    def put(self, served: ServedModel) -> None:
        """Add a version, or replace the one of that name and number."""
        self.update(served.metadata.name, [served])
        self.has_served = self.has_served or served.metadata.is_ready

    def remove(self, name: str, version: int) -> None:
        """Take a version out; a model goes with its last one."""
        self.update(name, gone=[version])

    def update(self, name: str, put: Sequence[ServedModel] = (), gone: Iterable[int] = ()) -> None:
        """Add or replace versions of a model and take others out, in one step; a model goes with its last one."""
        touched = {*gone, *(served.metadata.version for served in put)}
        if not touched:
            return
        model = self._models.get(name, _UNKNOWN)
        others = [other for other in model.versions if other.metadata.version not in touched]
        versions = tuple(sorted((*others, *put), key=lambda served: -served.metadata.version))
        if versions:
            self._change(name, replace(model, versions=versions))
        elif self._models.pop(name, None) is not None:
            self.generation += 1

    def set_labels(self, name: str, labels: Mapping[str, int]) -> None:
        """Let labels point at versions, these and no others. The model must be there."""
        if self._models[name].labels != labels:
            self._change(name, replace(self._models[name], labels=dict(labels)))

    def set_default(self, name: str, default: int | str | None) -> None:
        """Say what a request gets that names no version. The model must be there."""
        if self._models[name].default != default:
            self._change(name, replace(self._models[name], default=default))

    def set_notes(self, name: str, notes: tuple[str, ...]) -> None:
        """Say what there is to say of a model as a whole. The model must be there."""
        if self._models[name].notes != notes:
            self._change(name, replace(self._models[name], notes=notes))

    def _change(self, name: str, model: _Model) -> None:
        # In this order: who reads the new generation must find the new models.
        self._models[name] = model.told()
        self.generation += 1

    # --- any thread's ------------------------------------------------------------------------------------------------

    def names(self) -> tuple[str, ...]:
        """Return the names of all models, loading and failed ones among them."""
        return tuple(sorted(self._models))

    def versions(self, name: str) -> tuple[ServedModel, ...]:
        """Return a model's versions, newest first; none for an unknown name."""
        return self._models.get(name, _UNKNOWN).versions

    def get(self, name: str, version: int) -> ServedModel | None:
        """Return one version; None where it isn't there."""
        return self._models.get(name, _UNKNOWN).by_number(version)

    def labels(self, name: str) -> Mapping[str, int]:
        """Return a model's versions by label."""
        return self._models.get(name, _UNKNOWN).labels

    def metadata(self, name: str | None = None) -> tuple[ModelMetadata, ...]:
        """Return every version of one model, or of all, newest first.

        Raises:
            ModelNotFoundError: There is no model of that name.
        """
        if name is not None:
            return tuple(served.metadata for served in self._model(name).versions)
        return tuple(served.metadata for key in self.names() for served in self.versions(key))

    def find(self, name: str, version: int | str | None, signature: str | None) -> ServedSignature:
        """Return what serves a request.

        Raises:
            ModelNotFoundError: No such model, or none of its versions is loaded; the text lists what there is.
            VersionNotFoundError: No such version or label, or it isn't loaded.
            SignatureNotFoundError: No such signature.
            ModelNotReadyError: It is still loading.
            ModelLoadError: It could not be loaded.
        """
        served = _choose(name, self._model(name), version)
        wanted = served.metadata.default_signature if signature is None else signature
        found = served.signatures.get(wanted)
        if found is None:
            have = ", ".join(map(repr, served.signatures))
            text = (
                f"model {name!r} version {served.metadata.version} has no signature {wanted!r}; it has {have}. "
                "Name one of them, or none for the default"
            )
            raise SignatureNotFoundError(text)
        return found

    def _model(self, name: str) -> _Model:
        model = self._models.get(name)
        if model is None:
            have = ", ".join(map(repr, self.names())) or "none"
            text = f"no model {name!r} is served here; there are {have} (see `predictd models`)"
            raise ModelNotFoundError(text)
        return model


def _choose(name: str, model: _Model, version: int | str | None) -> ServedModel:
    wanted = model.default if version is None else version
    if wanted is None:
        newest = model.newest_ready()
        if newest is None:
            raise _none_ready(name, model)
        return newest
    served = model.by_number(model.number_of(wanted))
    if served is None:
        asked = "" if version is not None else ", which is its default"
        if isinstance(wanted, str) and wanted in model.labels:
            asked = f" ({model.labels[wanted]}){asked}"
        text = f"model {name!r} has no version or label {wanted!r}{asked}; it has {_listed(model)}. Name one of them"
        raise VersionNotFoundError(text)
    if not served.metadata.is_ready:
        raise _not_ready(model, served.metadata)
    return served


def _listed(model: _Model) -> str:
    return ", ".join(
        " ".join((f"version {metadata.version}", *map(repr, metadata.labels), *_state(metadata)))
        for metadata in (served.metadata for served in model.versions)
    )


def _state(metadata: ModelMetadata) -> tuple[str, ...]:
    return () if metadata.is_ready else (f"({metadata.state})",)


def _none_ready(name: str, model: _Model) -> PredictdError:
    """Return why a model is not served: the newest version that is coming or has failed is the reason."""
    for state in (LOADING, FAILED):
        for served in model.versions:
            if served.metadata.state == state:
                return _not_ready(model, served.metadata)
    text = (
        f"model {name!r} is not served now: it has {_listed(model)}, and none is loaded. "
        f"Load one: `predictd load {name}`"
    )
    return ModelNotFoundError(text)


def _not_ready(model: _Model, metadata: ModelMetadata) -> PredictdError:
    label = f"model {metadata.name!r} version {metadata.version}"
    if metadata.state == LOADING:
        text = f"{label} is loading; try again in {LOADING_RETRY_MS} ms"
        return ModelNotReadyError(text, {"retry_after_ms": LOADING_RETRY_MS})
    order = f"`predictd load {metadata.name} {metadata.version}`"
    if metadata.state == FAILED:
        return ModelLoadError(f"{label} is not served: {metadata.error}. Put the file right and load it again: {order}")
    ready = ", ".join(f"version {served.metadata.version}" for served in model.versions if served.metadata.is_ready)
    is_there = "is being unloaded" if metadata.state == UNLOADING else "is there, but not loaded"
    text = f"{label} {is_there}; ready: {ready or 'none'}. Name one of those, or load it: {order}"
    return VersionNotFoundError(text)

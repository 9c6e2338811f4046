"""The registry: which models and versions there are, and in what state.

Owns the map from a request's model, version and signature to what serves it. Written by the loader thread, read by the
pump and the control thread: every change replaces a whole tuple, so readers need no lock and never see half of one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from predictd_proto.errors import (
    ModelLoadError,
    ModelNotFoundError,
    ModelNotReadyError,
    PredictdError,
    SignatureNotFoundError,
    VersionNotFoundError,
)
from predictd_proto.metadata import ModelMetadata
from predictd_server.served import ServedSignature

LOADING, READY, FAILED = "loading", "ready", "failed"

#: What to wait for a model that is loading: TensorFlow's start and a load take seconds.
LOADING_RETRY_MS = 500


@dataclass(frozen=True, slots=True)
class ServedModel:
    """One version of one model.

    Attributes:
        metadata: What clients get to see.
        signatures: What serves each signature; empty until it is ready.
    """

    metadata: ModelMetadata
    signatures: dict[str, ServedSignature] = field(default_factory=dict)


class Registry:
    """Models by name and version.

    Attributes:
        generation: Counts the changes; what `find` said in another generation may no longer hold.
    """

    def __init__(self) -> None:
        self._models: dict[str, tuple[ServedModel, ...]] = {}
        self.generation = 0

    def put(self, served: ServedModel) -> None:
        """Add a version, or replace the one of that name and number."""
        name, version = served.metadata.name, served.metadata.version
        others = [other for other in self._models.get(name, ()) if other.metadata.version != version]
        self._models[name] = tuple(sorted((*others, served), key=lambda item: -item.metadata.version))
        self.generation += 1

    def names(self) -> tuple[str, ...]:
        """Return the names of all models, loading and failed ones among them."""
        return tuple(sorted(self._models))

    def metadata(self, name: str | None = None) -> tuple[ModelMetadata, ...]:
        """Return every version of one model, or of all, newest first.

        Raises:
            ModelNotFoundError: There is no model of that name.
        """
        if name is not None:
            return tuple(served.metadata for served in self._versions(name))
        return tuple(served.metadata for key in self.names() for served in self._models[key])

    def find(self, name: str, version: int | str | None, signature: str | None) -> ServedSignature:
        """Return what serves a request.

        Raises:
            ModelNotFoundError: No such model; the text lists those there are.
            VersionNotFoundError: No such version or label.
            SignatureNotFoundError: No such signature.
            ModelNotReadyError: It is still loading.
            ModelLoadError: It could not be loaded.
        """
        served = self._choose(name, version)
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

    def _versions(self, name: str) -> tuple[ServedModel, ...]:
        versions = self._models.get(name)
        if versions is None:
            have = ", ".join(map(repr, self.names())) or "none"
            text = f"no model {name!r} is served here; there are {have} (see `predictd models`)"
            raise ModelNotFoundError(text)
        return versions

    def _choose(self, name: str, version: int | str | None) -> ServedModel:
        versions = self._versions(name)
        candidates = [served for served in versions if _is_meant(served.metadata, version)]
        if not candidates:
            have = ", ".join(
                " ".join((f"version {it.version}", *map(repr, it.labels))) for it in (v.metadata for v in versions)
            )
            text = (
                f"model {name!r} has no version or label {version!r}; it has {have}. "
                "Name one of them, or none for the latest"
            )
            raise VersionNotFoundError(text)
        for served in candidates:
            if served.metadata.is_ready:
                return served
        raise _not_ready(candidates[0].metadata)


def _is_meant(metadata: ModelMetadata, version: int | str | None) -> bool:
    if version is None:
        return True
    return version == metadata.version if isinstance(version, int) else version in metadata.labels


def _not_ready(metadata: ModelMetadata) -> PredictdError:
    if metadata.state == FAILED:
        return ModelLoadError(
            f"model {metadata.name!r} version {metadata.version} is not served: {metadata.error}. "
            "Put the file right and restart the daemon"
        )
    text = f"model {metadata.name!r} version {metadata.version} is {metadata.state}; try again in {LOADING_RETRY_MS} ms"
    return ModelNotReadyError(text, {"retry_after_ms": LOADING_RETRY_MS})

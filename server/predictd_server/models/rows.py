"""Rows: how a version is shown to clients and in the log.

Owns the bounds on what is shown. Pure: it looks at nothing but its arguments and does nothing. Models thread.
"""

from __future__ import annotations

from dataclasses import replace

from predictd_proto.facts import safe_text
from predictd_proto.metadata import ModelMetadata
from predictd_server.models.found import Found
from predictd_server.models.registry import AVAILABLE, FAILED, ServedModel
from predictd_server.models.version_loading import MOST_TEXT, unloaded

#: A directory may be full of names that are no versions.
MOST_NOTES = 16


def not_served(found: Found, version: int, reason: str, note: str | None) -> ServedModel:
    """Return a version that is there and not served.

    Args:
        found: What there is of its model.
        version: Its number.
        reason: Why its last load failed; empty where none did.
        note: What else there is to say of it.
    """
    problem = found.problems.get(version)
    if problem is not None:
        name = found.settings.name
        metadata = ModelMetadata(name=name, version=version, state=FAILED, error=safe_text(problem, MOST_TEXT))
        return ServedModel(metadata)
    file = found.versions[version]
    if reason:
        return unloaded(file, FAILED, reason)
    row = unloaded(file, AVAILABLE)
    return row if note is None else ServedModel(replace(row.metadata, notes=(note,)))


def is_news(served: ServedModel, shown: ServedModel | None) -> bool:
    """Whether a version differs from how it is shown, but for what the registry adds."""
    if shown is None:
        return True
    was = shown.metadata
    told = replace(served.metadata, labels=was.labels, is_default=was.is_default, model_notes=was.model_notes)
    return told != was


def shown_notes(notes: tuple[str, ...]) -> tuple[str, ...]:
    """Return what is shown of the notes on a model as a whole."""
    shown = tuple(safe_text(note, MOST_TEXT) for note in notes[:MOST_NOTES])
    return shown if len(notes) <= MOST_NOTES else (*shown, f"and {len(notes) - MOST_NOTES} more; the log has all")


def ready_text(metadata: ModelMetadata) -> str:
    """Return what is said of a version that has just become ready."""
    spec = metadata.signature()
    signature = ""
    if spec is not None:
        inputs = ", ".join(f"{tensor.name} {tensor}" for tensor in spec.inputs)
        outputs = ", ".join(f"{tensor.name} {tensor}" for tensor in spec.outputs)
        signature = f": {inputs} -> {outputs}"
    return (
        f"model {metadata.name} version {metadata.version} is ready{signature}; runner {metadata.runner}, "
        f"loaded in {metadata.load_ms / 1000:.1f} s, warmed in {metadata.warmup_ms / 1000:.1f} s"
    )

"""A variant: settings to try instead of those that are set, and which ones there are to try.

Owns the list of candidates. Pure; any thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from predictd_server.models.settings import ModelSettings
from predictd_server.settings import Settings


@dataclass(frozen=True, slots=True)
class Variant:
    """Settings on top of those that are set.

    Attributes:
        server: Of the server, which all of its models share.
        model: Of the model alone.
    """

    server: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)

    def __or__(self, other: Variant) -> Variant:
        return Variant({**self.server, **other.server}, {**self.model, **other.model})

    def __str__(self) -> str:
        values = {**self.server, **self.model}
        return ", ".join(f"{name} = {shown(value)}" for name, value in values.items()) or "as it is set"


def shown(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(shown, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


def candidates(settings: Settings, model: ModelSettings, processors: int) -> Iterator[Variant]:
    """Yield what is worth trying: what differs from the present settings, what changes most first.

    Args:
        settings: The server's, as they are set.
        model: The model's, as they are set.
        processors: How many CPUs there are to use.
    """
    if settings.backend == "tensorflow":
        yield Variant(model={"xla": not model.xla})
    present = settings.intra_op_threads or processors
    for threads in sorted({1, max(processors // 2, 1), processors} - {present}):
        yield Variant(server={"intra_op_threads": threads})
    if settings.backend == "tensorflow":
        yield Variant(server={"onednn": "on" if settings.onednn == "off" else "off"})

"""Departures: versions that are served no longer, on their way out of memory.

Owns the wait for whoever still needs a version, and its release afterwards. Loader thread. It never waits itself: it is
asked to look again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from predictd_server.models.registry import ServedModel
from predictd_server.resident import resident_bytes

_log = logging.getLogger("predictd")

_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True, eq=False)
class _Leaving:
    """One version.

    Attributes:
        served: It.
        generation: The registry's, since which nothing leads to it.
        on_gone: Told what came back.
    """

    served: ServedModel
    generation: int
    on_gone: Callable[[str], None]


class Departures:
    """Versions that leave.

    Args:
        seen_generation: Returns up to which of the registry's changes no request comes in for what it held before.
        reclaim: Gives memory that nobody uses back to the system.
    """

    def __init__(self, seen_generation: Callable[[], int], reclaim: Callable[[], None]) -> None:
        self._seen_generation = seen_generation
        self._reclaim = reclaim
        self._leaving: list[_Leaving] = []

    def __len__(self) -> int:
        return len(self._leaving)

    def add(self, served: ServedModel, generation: int, on_gone: Callable[[str], None]) -> None:
        """Take a version in that the registry no longer leads requests to.

        Args:
            served: It.
            generation: The registry's after that change.
            on_gone: Called when it is out of memory, with a text that says how much came back.
        """
        self._leaving.append(_Leaving(served, generation, on_gone))

    def tend(self) -> None:
        """Release those that nobody needs any more."""
        seen = self._seen_generation()
        gone = [leaving for leaving in self._leaving if leaving.generation <= seen and not _is_needed(leaving.served)]
        if not gone:
            return
        self._leaving = [leaving for leaving in self._leaving if leaving not in gone]
        while gone:
            leaving = gone.pop()
            metadata, on_gone = leaving.served.metadata, leaving.on_gone
            before_bytes = resident_bytes()
            _close(leaving.served)
            # The last reference, so that what it held can be reclaimed now.
            del leaving
            self._reclaim()
            text = f"model {metadata.name} version {metadata.version}: unloaded{_came_back(before_bytes)}"
            _log.info("%s", text)
            on_gone(text)


def _is_needed(served: ServedModel) -> bool:
    return any(signature.open_requests for signature in served.signatures.values())


def _close(served: ServedModel) -> None:
    for signature in served.signatures.values():
        try:
            signature.runner.close()
        except Exception:  # what can't be closed must not keep the others in memory
            _log.warning("%s: closing it failed", signature, exc_info=True)


def _came_back(before_bytes: int | None) -> str:
    after_bytes = resident_bytes()
    if before_bytes is None or after_bytes is None:
        return ""
    freed = max(before_bytes - after_bytes, 0) / _MEGABYTE
    return f"; {freed:.1f} MB came back, {after_bytes / _MEGABYTE:.0f} MB are in use"

"""Departures: versions that are served no longer, on their way out of memory.

Owns the wait for whoever still needs a version, and its release afterwards. Models thread. It never waits itself: it is
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
        on_gone: Those who are told what came back.
    """

    served: ServedModel
    generation: int
    on_gone: list[Callable[[str], None]]


class Departures:
    """Versions that leave.

    Args:
        seen_generation: Returns up to which of the registry's changes no request comes in for what it held before.
        reclaim: Gives memory that nobody uses back to the system.
        is_loading: Returns whether a version is loaded now: then what came back can't be told from what that takes.

    Attributes:
        steps: Counts the begin and the end of every release; who measures memory across one measures both. Any thread
            reads it.
    """

    def __init__(
        self, seen_generation: Callable[[], int], reclaim: Callable[[], None], is_loading: Callable[[], bool]
    ) -> None:
        self._seen_generation = seen_generation
        self._reclaim = reclaim
        self._is_loading = is_loading
        self.steps = 0
        self._leaving: list[_Leaving] = []

    def __len__(self) -> int:
        return len(self._leaving)

    def add(self, served: ServedModel, generation: int, *on_gone: Callable[[str], None]) -> None:
        """Take a version in that the registry no longer leads requests to.

        Args:
            served: It.
            generation: The registry's after that change.
            on_gone: Called when it is out of memory, with a text that says how much came back.
        """
        self._leaving.append(_Leaving(served, generation, list(on_gone)))

    def versions(self, name: str) -> set[int]:
        """Return the versions of a model that leave."""
        return {leaving.served.metadata.version for leaving in self._leaving if leaving.served.metadata.name == name}

    def tell(self, name: str, version: int | None, on_gone: Callable[[str], None]) -> int:
        """Tell somebody else too of what leaves already; return how often that will be.

        Args:
            name: A model's.
            version: One of its versions; None for all. Of one whose files were replaced several may leave.
            on_gone: As for `add`.
        """
        meant = [
            leaving
            for leaving in self._leaving
            if leaving.served.metadata.name == name and version in {None, leaving.served.metadata.version}
        ]
        for leaving in meant:
            leaving.on_gone.append(on_gone)
        return len(meant)

    def tend(self) -> bool:
        """Release those that nobody needs any more; return whether there was any."""
        count = len(self._leaving)
        seen = self._seen_generation()
        for number in reversed(range(count)):
            leaving = self._leaving[number]
            if leaving.generation <= seen and not _is_needed(leaving.served):
                del self._leaving[number]
                self._release(leaving)
        return len(self._leaving) < count

    def _release(self, leaving: _Leaving) -> None:
        metadata = leaving.served.metadata
        before_bytes = None if self._is_loading() else resident_bytes()
        self.steps += 1
        try:
            _close(leaving.served)
            self._reclaim()
        finally:
            self.steps += 1
        text = f"model {metadata.name} version {metadata.version}: unloaded{_came_back(before_bytes)}"
        _log.info("%s", text)
        for on_gone in leaving.on_gone:
            try:
                on_gone(text)
            except Exception:  # a bug of ours must not keep it from the others, nor the other versions in memory
                _log.exception("internal error after %s", text)


def _is_needed(served: ServedModel) -> bool:
    return any(signature.is_needed for signature in served.signatures.values())


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

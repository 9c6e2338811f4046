"""The growth of the process's memory over a load.

Owns when it can be told. Loader thread.
"""

from __future__ import annotations

from collections.abc import Callable

from predictd_server.resident import resident_bytes


class Growth:
    """The growth since now.

    Args:
        releases: Returns a count that changes when the release of a version begins and when it ends; see `Departures`.
    """

    def __init__(self, releases: Callable[[], int]) -> None:
        self._releases = releases
        # First: a release that is under way now ends after it.
        self._count = releases()
        self._before_bytes = resident_bytes()

    def bytes(self) -> int | None:
        """Return how much it has grown; None where the system doesn't tell, or where a version left meanwhile."""
        after_bytes = resident_bytes()
        if self._before_bytes is None or after_bytes is None or self._releases() != self._count:
            return None
        return max(after_bytes - self._before_bytes, 0)

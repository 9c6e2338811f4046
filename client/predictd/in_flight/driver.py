"""The driver: what an exchange needs of the thread that runs it.

Owns the words only; asyncio's event loop and the dispatcher's thread each have their own way.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, TypeVar

from predictd.deadline import Clock

if TYPE_CHECKING:
    from predictd.in_flight.channel import Channel

Result = TypeVar("Result")


class Driver(Protocol):
    """Waits for descriptors, instants (`Exchange.next_turn_s`) and jobs, and calls the exchange on one thread."""

    def watch(self, channel: Channel) -> None:
        """Call `Exchange.readable` whenever the channel's descriptor is readable."""
        ...

    def unwatch(self, channel: Channel) -> None:
        """Don't any more: it will be closed."""
        ...

    def start(
        self, work: Callable[[Clock], Result], done: Callable[[Result | None, BaseException | None], None]
    ) -> None:
        """Do blocking work elsewhere, then call `done` and `Exchange.settle` on the exchange's thread.

        Args:
            work: Gets the clock for its deadlines, on which time ends when the driver closes; returns the result.
            done: Gets the result, or the error.
        """
        ...

"""The outcomes: what a line tells its exchange.

Owns the words only. The thread that runs the exchange.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from predictd.in_flight.channel import Channel
    from predictd.in_flight.line import Line
    from predictd.in_flight.pending import Pending
    from predictd.requests.catalogue import Plan
    from predictd_proto.messages import PredictResponse


class Outcomes(Protocol):
    """Where a line reports what became of a request, and what it wants to be done next: its exchange."""

    def answered(self, pending: Pending, answer: PredictResponse, plan: Plan) -> None:
        """It has its answer."""
        ...

    def failed(self, pending: Pending, error: BaseException) -> None:
        """It has not, and is on no channel and in no queue any more."""
        ...

    def look_at(self, channel: Channel) -> None:
        """Something was done to the channel: read it before waiting for its descriptor again."""
        ...

    def has_room(self, line: Line) -> None:
        """The line may be able to send more."""
        ...

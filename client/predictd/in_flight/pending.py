"""A pending request: one question on its way through an exchange, until it is answered, fails or is given up.

Owns its state and nothing else; who changes what is written at each attribute. The thread that runs its exchange.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from predictd.deadline import Deadline
from predictd.in_flight.alarms import Alarm
from predictd.requests.request_frames import Question

if TYPE_CHECKING:
    from predictd.in_flight.channel import Channel
    from predictd.in_flight.line import Line
    from predictd.requests.catalogue import Plan
    from predictd.requests.link import Link
    from predictd.routing.failover import Failover
    from predictd_proto.errors import PredictdError
    from predictd_proto.messages import PredictResponse


class Pending:
    """One question under way.

    Args:
        question: What is asked; it belongs to the exchange from here on, which drops its inputs when it is done.
        deadline: Until when, on the exchange's clock.
        on_done: Called once with this, when there is an answer or an error; not after `Exchange.cancel`.

    Attributes:
        question: Likewise.
        deadline: Likewise.
        on_done: Likewise.
        answer: What the server answered; None where it failed.
        plan: How the request was made, and in the end how its answer is read.
        error: Why there is no answer.
        is_done: Whether it is over, also by being given up.
        is_admitted: Whether it is one of the window.
        alarms: Its deadline, and the end of a pause before it is asked again.
        failover: Where it was tried and how that failed; None while there is nothing to tell.
        last_error: The newest failure.
        link: The endpoint it was sent to, or is to be sent, as patiently as it is to be connected to.
        line: That endpoint's line.
        channel: Where its answer will come from; None while it is not sent.
        request_id: Its id there.
        is_plan_fresh: Whether its plan was fetched just for it.
        remakes: How often it was made anew, because a version that takes other inputs had answered.
        was_unlucky: Whether a connection was found lost when it was to be sent.
    """

    __slots__ = (
        "alarms",
        "answer",
        "channel",
        "deadline",
        "error",
        "failover",
        "is_admitted",
        "is_done",
        "is_plan_fresh",
        "last_error",
        "line",
        "link",
        "on_done",
        "plan",
        "question",
        "remakes",
        "request_id",
        "was_unlucky",
    )

    def __init__(self, question: Question, deadline: Deadline, on_done: Callable[[Pending], object]) -> None:
        self.question: Question = question
        self.deadline: Deadline = deadline
        self.on_done: Callable[[Pending], object] = on_done
        self.answer: PredictResponse | None = None
        self.plan: Plan | None = None
        self.error: BaseException | None = None
        self.is_done: bool = False
        self.is_admitted: bool = False
        self.alarms: tuple[Alarm, ...] = ()
        self.failover: Failover | None = None
        self.last_error: PredictdError | None = None
        self.link: Link | None = None
        self.line: Line | None = None
        self.channel: Channel | None = None
        self.request_id: int = 0
        self.is_plan_fresh: bool = False
        self.remakes: int = 0
        self.was_unlucky: bool = False

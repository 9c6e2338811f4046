"""A turn: one request on its way through the faults to its answer.

Owns what has been decided about one request so far. It decides nothing itself. The thread that answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from predictd_proto.dtypes import Buffer
from predictd_proto.errors import PredictdError
from predictd_proto.messages import PredictRequest, PredictResponse

#: Changes an answer on its way out, message by message.
Change = Callable[[PredictResponse], PredictResponse]

#: Changes its bytes.
Spoil = Callable[[Sequence[Buffer]], list[Buffer]]


@dataclass(frozen=True, slots=True)
class Reply:
    """Something to send back.

    Attributes:
        frames: What.
        after_ms: When, in milliseconds from now.
    """

    frames: list[Buffer]
    after_ms: float = 0.0


@dataclass(slots=True)
class Turn:
    """One request.

    Attributes:
        request: The request.
        delay_ms: How long its answer is held back, in milliseconds.
        error: Answered in place of the model.
        is_dropped: It gets no answer.
        dies: The server dies with it.
        back_after_ms: When it comes back then; None for not by itself.
        changes: What is done to the answer, in order.
        spoils: What is done to the answer's bytes, in order.
    """

    request: PredictRequest
    delay_ms: float = 0.0
    error: PredictdError | None = None
    is_dropped: bool = False
    dies: bool = False
    back_after_ms: float | None = None
    changes: list[Change] = field(default_factory=list)
    spoils: list[Spoil] = field(default_factory=list)

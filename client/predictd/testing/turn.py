"""A turn: one request on its way through the faults to its answer.

Owns what has been decided about one request so far. It decides nothing itself. The thread that answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from predictd_proto.dtypes import Buffer
from predictd_proto.errors import PredictdError
from predictd_proto.messages import PredictRequest, PredictResponse, Receipt

#: Changes an answer on its way out, message by message.
Change = Callable[[PredictResponse], PredictResponse]

#: Changes its bytes.
Spoil = Callable[[Sequence[Buffer]], list[Buffer]]


#: What a row takes according to a fake's receipts. `RemoteModel.predict` sends larger chunks to faster models; to one
#: as slow as this it sends one full batch at a time, whatever it was used for before. So a test sees the same requests
#: every time, and a recording is asked what was recorded.
MS_PER_ROW = 5.0


def fake_receipt(model: str, version: int, rows: int) -> Receipt:
    """Return the receipt of a request that ran alone, with nothing in it that differs from run to run."""
    return Receipt(model=model, version=version, execute_ms=MS_PER_ROW * rows, batch_rows=rows)


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

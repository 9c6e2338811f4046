"""The circuit: why an endpoint is left alone, and until when.

Owns which errors open one, how long for, and who may probe. It reads no clock and draws no numbers: both are arguments.
Any thread; it never changes but for the book of probes, whose entries are set once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from predictd_proto.errors import (
    DeadlineExceededError,
    ExpiredInQueueError,
    ModelNotReadyError,
    OverloadedError,
    PredictdError,
    ServerDrainingError,
    ServerLostError,
    ServerUnavailableError,
)

#: How long an endpoint is left alone after the first failure; it doubles with each probe that fails too. Drawn evenly
#: from half of that up to all of it, so that many clients don't probe at the same moment.
FIRST_MS = 100.0
#: Where the doubling ends: for a server that answers and refuses, and for one that doesn't answer at all.
MOST_REFUSED_MS = 2_000.0
MOST_ABSENT_MS = 10_000.0
#: No server's own `retry_after_ms` is taken for more than this.
MOST_RETRY_AFTER_MS = 60_000.0

#: A probe that has said nothing for so long makes room for the next one.
PROBE_S = 2.0

_REFUSALS = (OverloadedError, ModelNotReadyError, ServerDrainingError)
_ABSENCES = (ServerUnavailableError, ServerLostError)


@dataclass(frozen=True, slots=True, eq=False)
class Circuit:
    """An open circuit; a closed one is None.

    Attributes:
        due_s: From when on requests may probe.
        failures: The failure that opened it and the probes that failed since.
        is_refusal: The server is there and refuses.
    """

    due_s: float
    failures: int
    is_refusal: bool
    _probes: dict[int, object] = field(default_factory=dict, repr=False)

    @classmethod
    def after(cls, error: PredictdError, before: Circuit | None, now_s: float, draw: float) -> Circuit:
        """Return the circuit after an error.

        Args:
            error: One that opens it.
            before: The circuit until now.
            now_s: The time.
            draw: A number from 0 up to 1.
        """
        is_refusal = isinstance(error, _REFUSALS)
        pause_ms = min(error.retry_after_ms or 0, MOST_RETRY_AFTER_MS)
        if before is not None and now_s < before.due_s:
            # Another request's news of the same trouble: no reason to stay away for longer, unless the server says so.
            return cls(max(before.due_s, now_s + pause_ms / 1000), before.failures, before.is_refusal and is_refusal)
        failures = 1 if before is None else before.failures + 1
        longest_ms = min(MOST_REFUSED_MS if is_refusal else MOST_ABSENT_MS, FIRST_MS * 2.0 ** min(failures - 1, 32))
        pause_ms += longest_ms * (0.5 + draw / 2)
        return cls(now_s + pause_ms / 1000, failures, is_refusal)

    def lets_probe(self, now_s: float) -> bool:
        """Return whether the caller may probe: one may, and another whenever a probe has been silent for long."""
        if now_s < self.due_s:
            return False
        turn, mine = int((now_s - self.due_s) / PROBE_S), object()
        return self._probes.setdefault(turn, mine) is mine

    def yields(self, now_s: float) -> bool:
        """Return whether an answer closes it: a refusal stands until it is due, whoever was let in before it."""
        return not self.is_refusal or now_s >= self.due_s


def opens(error: PredictdError, now_s: float, heard_s: float) -> bool:
    """Return whether an error says that requests are better sent elsewhere for a while.

    Args:
        error: The error.
        now_s: The time.
        heard_s: When the server last said anything.
    """
    if isinstance(error, (*_REFUSALS, *_ABSENCES)):
        return True
    if not isinstance(error, DeadlineExceededError) or isinstance(error, ExpiredInQueueError):
        return False
    state = error.detail.get("state")
    if state == "connecting":
        return True
    # The time was spent waiting, and nobody else had an answer from there meanwhile.
    waited_ms = error.detail.get("waited_ms")
    asked_s = now_s - (waited_ms / 1000 if isinstance(waited_ms, (int, float)) else 0.0)
    return state == "waiting" and heard_s <= asked_s

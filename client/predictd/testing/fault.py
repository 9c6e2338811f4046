"""A fault: one thing that goes wrong at a fake, for how long, and for which requests.

Owns the counting of a single fault. What it does is a function that it was given. Guarded by its fake's monitor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from predictd.testing.turn import Turn
from predictd_proto.messages import Hello, Message
from predictd_proto.metadata import ModelMetadata

#: Acts on a request. True: that decides it, and no later fault is asked. None: it was not this one's turn.
OnRequest = Callable[[Turn], "bool | None"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """What a fault does; None where it does nothing.

    Attributes:
        on_request: To predict requests.
        on_hello: To handshakes.
        see: To what clients get to see of a model.
        state: The server's state as it tells it.
        is_silent: The server answers nothing at all.
    """

    on_request: OnRequest | None = None
    on_hello: Callable[[Hello], Message] | None = None
    see: Callable[[ModelMetadata], ModelMetadata] | None = None
    state: str | None = None
    is_silent: bool = False


class Fault:
    """A fault that is switched on. It ends with its `with` block, with `end()`, or when it has struck `times` times.

    Args:
        name: What it is, for error texts.
        effect: What it does.
        end: Switches it off.
        model: Strike only requests for this model.
        times: How often to strike; None for as long as it is on.
        after: How many fitting requests to let pass first.

    Attributes:
        struck: How often it has struck.
    """

    def __init__(
        self,
        name: str,
        effect: Effect,
        end: Callable[[Fault], object],
        *,
        model: str | None = None,
        times: int | None = None,
        after: int = 0,
    ) -> None:
        self.effect = effect
        self.struck: int = 0
        self._name = name
        self._end = end
        self._model = model
        self._times = times
        self._after = after

    def __enter__(self) -> Fault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def __repr__(self) -> str:
        left = "" if self._times is None else f", {max(self._times - self.struck, 0)} of {self._times} left"
        return f"<fault {self._name}, struck {self.struck} times{left}>"

    @property
    def is_used_up(self) -> bool:
        """Whether it has struck as often as it should."""
        return self._times is not None and self.struck >= self._times

    def end(self) -> None:
        """Switch it off; without effect on one that is off."""
        self._end(self)

    def strike(self, turn: Turn) -> bool:
        """Act on a request if it is this fault's turn; return whether that decided it."""
        act = self.effect.on_request
        if act is None or self.is_used_up or self._model not in {None, turn.request.model}:
            return False
        if self._after:
            self._after -= 1
            return False
        decided = act(turn)
        if decided is None:
            return False
        self.struck += 1
        return decided

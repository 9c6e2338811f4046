"""The switches for everything that can go wrong at a fake.

Owns which faults are on, and their order. What each does to an answer is in `effects.py`. Any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from predictd.testing import effects
from predictd.testing.fault import Effect, Fault
from predictd.testing.monitor import Monitor
from predictd.testing.presence import Presence
from predictd.testing.turn import Turn
from predictd_proto.errors import ConfigError, OverloadedError, PredictdError
from predictd_proto.messages import Hello, Message
from predictd_proto.metadata import ModelMetadata


class Faults:
    """Switches faults on: each method returns the fault, which is on from then on.

    Use it as a context manager to have it end with the block; otherwise it ends when it has struck `times` times, by
    its `end()`, or by the fake's `reset()`. Faults are asked in the order in which they were switched on, and each
    acts on what the earlier ones left: two delays add up. One that decides a request (drop, refuse, overload, die) is
    the last that is asked for it; later ones neither act nor count.

    Every fault of requests takes `model` (only requests for that model), `times` (only so many) and `after` (only
    after so many fitting ones).

    Args:
        monitor: Guards it.
        presence: Whether the fake is there.

    Examples:
        >>> import predictd
        >>> with in_process(FakeModel("m", inputs=("float32", (None, 2)), outputs=("float32", (None, 1)))) as server:
        ...     with server.faults.overload(retry_after_ms=1, times=2):
        ...         y = predictd.RemoteModel("m").predict([[1.0, 2.0]])
        ...     len(server.requests)
        3
    """

    def __init__(self, monitor: Monitor, presence: Presence) -> None:
        self._monitor = monitor
        self._presence = presence
        self._active: tuple[Fault, ...] = ()
        #: Those without whose end the fake does not come back, once they have taken it away.
        self._keeping: tuple[Fault, ...] = ()

    # --- on requests ------------------------------------------------------------------------------------------------

    def delay(self, ms: float, *, model: str | None = None, times: int | None = None, after: int = 0) -> Fault:
        """Hold answers back by so many milliseconds."""
        return self._on_request("delay", effects.delay(ms), model, times, after)

    def drop(self, *, model: str | None = None, times: int | None = None, after: int = 0) -> Fault:
        """Give no answer: the caller waits until its time is up."""
        return self._on_request("drop", effects.drop, model, times, after)

    def overload(
        self, retry_after_ms: int = 100, *, model: str | None = None, times: int | None = None, after: int = 0
    ) -> Fault:
        """Refuse as overloaded, and say when to come back, in milliseconds."""
        text = f"the queue is full. Try again in {retry_after_ms} ms (a fault of predictd.testing)"
        error = OverloadedError(text, {"retry_after_ms": retry_after_ms})
        return self._on_request("overload", effects.refuse(error), model, times, after)

    def refuse(
        self,
        error: PredictdError | type[PredictdError],
        *,
        model: str | None = None,
        times: int | None = None,
        after: int = 0,
    ) -> Fault:
        """Answer with an error, or one of a class: any of `predictd`'s."""
        return self._on_request("refuse", effects.refuse(effects.error_of(error)), model, times, after)

    def flaky(
        self,
        rate: float,
        seed: int,
        error: PredictdError | type[PredictdError] = OverloadedError,
        *,
        model: str | None = None,
        times: int | None = None,
        after: int = 0,
    ) -> Fault:
        """Answer a share of the requests (0 to 1) with an error: drawn anew for each, the same ones for one seed."""
        act = effects.flaky(rate, seed, effects.error_of(error))
        return self._on_request("flaky", act, model, times, after)

    def die(
        self,
        after: int = 0,
        *,
        model: str | None = None,
        back_after_ms: float | None = None,
    ) -> Fault:
        """Die in mid-batch: take `after` requests without answering them, and vanish with the one after those.

        Args:
            after: How many requests are taken along besides the last.
            model: Only requests for this model.
            back_after_ms: When to come back as a new server, in milliseconds; None for when the fault ends.
        """
        act = effects.die(after, back_after_ms)
        fault = self._on_request("die", act, model, after + 1, 0, is_away=True)
        if back_after_ms is None:
            self._keeping = (*self._keeping, fault)
        return fault

    # --- on answers -------------------------------------------------------------------------------------------------

    def wrong_dtype(
        self, dtype: str = "", *, model: str | None = None, times: int | None = None, after: int = 0
    ) -> Fault:
        """Answer with another dtype than the signature's, in all outputs."""
        return self._on_request("wrong_dtype", effects.change(effects.other_dtype(dtype)), model, times, after)

    def wrong_shape(self, *, model: str | None = None, times: int | None = None, after: int = 0) -> Fault:
        """Answer with one row too many, in all outputs."""
        return self._on_request("wrong_shape", effects.change(effects.one_row_more), model, times, after)

    def wrong_names(self, *, model: str | None = None, times: int | None = None, after: int = 0) -> Fault:
        """Answer with outputs of other names."""
        return self._on_request("wrong_names", effects.change(effects.other_names), model, times, after)

    def other_id(self, *, model: str | None = None, times: int | None = None, after: int = 0) -> Fault:
        """Answer another request than the one that was asked: a client goes on waiting for its own."""
        return self._on_request("other_id", effects.change(effects.other_id), model, times, after)

    def corrupt(self, *, model: str | None = None, times: int | None = None, after: int = 0) -> Fault:
        """Answer with bytes that are no message."""
        return self._on_request("corrupt", effects.spoil(effects.corrupted), model, times, after)

    # --- on the server ----------------------------------------------------------------------------------------------

    def loading(self, model: str | None = None) -> Fault:
        """Be still loading one model, or all of them."""
        state = "starting" if model is None else None
        return self._on(Fault("loading", Effect(see=effects.seen_loading(model), state=state), self._end))

    def draining(self) -> Fault:
        """Be shutting down: new requests are refused, status says so."""
        return self._on(Fault("draining", Effect(on_request=effects.refuse_draining, state="draining"), self._end))

    def silence(self) -> Fault:
        """Answer nothing at all, as a process that is stopped: connections stand, nobody speaks."""
        return self._on(Fault("silence", Effect(on_request=effects.drop, is_silent=True), self._end))

    def away(self, back_after_ms: float | None = None) -> Fault:
        """Be gone: connections vanish at once, and nobody listens until the fault ends.

        Args:
            back_after_ms: When to come back by itself, as a new server, in milliseconds; None for when it ends.
        """
        fault = self._on(Fault("away", Effect(), self._end_away))
        if back_after_ms is None:
            self._keeping = (*self._keeping, fault)
        self._presence.leave(back_after_ms)
        return fault

    def refuse_handshake(self, error: PredictdError | type[PredictdError] = ConfigError) -> Fault:
        """Answer every handshake with an error."""
        answer = effects.hello_refused(effects.error_of(error))
        return self._on(Fault("refuse_handshake", Effect(on_hello=answer), self._end))

    def other_protocol(self, version: int) -> Fault:
        """Speak another version of the protocol only: clients are told which side is older."""
        return self._on(Fault("other_protocol", Effect(on_hello=effects.hello_of_version(version)), self._end))

    # --- the switchboard --------------------------------------------------------------------------------------------

    @property
    def active(self) -> tuple[Fault, ...]:
        """The faults that are on, in their order."""
        with self._monitor:
            return tuple([fault for fault in self._active if not fault.is_used_up])

    def clear(self) -> None:
        """Switch everything off, and have the fake back, whatever took it away."""
        for fault in reversed(self._active):
            fault.end()
        self._keeping = ()
        self._presence.come_back()

    def apply(self, turn: Turn) -> None:
        """Let the faults act on a request."""
        with self._monitor:
            for fault in self._active:
                if fault.strike(turn):
                    return

    def hello(self, hello: Hello) -> Message | None:
        """Return what a handshake is answered with in place of a welcome."""
        found = [fault.effect.on_hello for fault in self.active if fault.effect.on_hello is not None]
        return found[0](hello) if found else None

    def see(self, metadata: ModelMetadata) -> ModelMetadata:
        """Return what clients get to see of a model."""
        for fault in self.active:
            if fault.effect.see is not None:
                metadata = fault.effect.see(metadata)
        return metadata

    @property
    def state(self) -> str | None:
        """The state that the server tells in place of its own."""
        return next((fault.effect.state for fault in self.active if fault.effect.state is not None), None)

    @property
    def is_silent(self) -> bool:
        """Whether nothing is answered."""
        return any(fault.effect.is_silent for fault in self.active)

    def _on_request(
        self,
        name: str,
        act: Callable[[Turn], bool | None],
        model: str | None,
        times: int | None,
        after: int,
        *,
        is_away: bool = False,
    ) -> Fault:
        _check_counts(name, {"times": times, "after": after})
        end = self._end_away if is_away else self._end
        return self._on(Fault(name, Effect(on_request=act), end, model=model, times=times, after=after))

    def _on(self, fault: Fault) -> Fault:
        with self._monitor:
            self._active = (*[other for other in self._active if not other.is_used_up], fault)
        return fault

    def _end(self, fault: Fault) -> None:
        with self._monitor:
            self._active = tuple([other for other in self._active if other is not fault])

    def _end_away(self, fault: Fault) -> None:
        self._end(fault)
        with self._monitor:
            self._keeping = tuple([other for other in self._keeping if other is not fault])
            # The inner one of two blocks has no say; a `die` that has not struck took nobody away.
            is_kept = any(other.effect.on_request is None or other.is_used_up for other in self._keeping)
        if not is_kept:
            self._presence.come_back()


def _check_counts(name: str, counts: dict[str, Any]) -> None:
    for what, count in counts.items():
        if count is not None and (type(count) is not int or count < 0):
            text = f"faults.{name}: {what}: expected a whole number of at least 0, got {count!r}"
            raise ConfigError(text)

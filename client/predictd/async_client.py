"""The asyncio client: `Client`'s calls as coroutines.

Owns the public calls and which event loop they run on. How they are asked is `loop_session.py`'s and `exchange.py`'s. A
client may be made anywhere (at import, before a fork) and used by one loop after another, in every process.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from predictd.async_order_calls import AsyncOrderCalls
from predictd.deadline import (
    DEFAULT_CONNECT_TIMEOUT_MS,
    DEFAULT_TIMEOUT_MS,
    Deadline,
    check_timeout_ms,
    check_timeout_s,
)
from predictd.in_flight.loop_session import Flight, LoopSession
from predictd.in_flight.map_source import MapSource
from predictd.in_flight.windows import DEFAULT_MAX_IN_FLIGHT, DEFAULT_WINDOW, check_count
from predictd.process import set_aside, this_process
from predictd.requests.request_frames import Question, check_words
from predictd.routing.asking import Asking
from predictd.routing.looking import served_models, wait_until_ready
from predictd.routing.retries import Retries
from predictd_proto.errors import ConfigError

if TYPE_CHECKING:
    from types import TracebackType

    from predictd.prediction import Prediction
    from predictd_proto.metadata import ModelMetadata
    from predictd_proto.status import ServerStatus


class AsyncClient(AsyncOrderCalls):
    """Asks predictd servers, from coroutines.

        async with predictd.AsyncClient() as client:
            prediction = await client.predict("digits", x)

    Any number of coroutines may use one client at once: their requests share a few connections, and no thread is made
    but for connecting. A call that is cancelled (`task.cancel()`, `asyncio.timeout`, a failing `TaskGroup`) is
    cancelled at the server too, and harms no other. Making a client opens nothing; it connects at its first call, for
    the loop that runs then. When that loop has ended another one may use it; two at once need two clients.

    It is closed by `async with` or `aclose`; without either, when it is collected.

    Args:
        endpoint: Where servers listen, as in `Client`: one, a sequence of them or a text with commas; None for the
            environment's `PREDICTD_ENDPOINT`, else the user's own socket.
        timeout_ms: What a call may take, if it doesn't say otherwise: waiting for its turn, connecting, retries and
            all, in milliseconds.
        connect_timeout_ms: What finding a server may take of that.
        retries: How calls are repeated within their time; None for never.
        max_in_flight: How many requests are worked on at once; more of them wait their turn, first come first served.

    Raises:
        ConfigError: An argument is wrong.
    """

    def __init__(
        self,
        endpoint: str | Iterable[str] | None = None,
        *,
        timeout_ms: float = DEFAULT_TIMEOUT_MS,
        connect_timeout_ms: float = DEFAULT_CONNECT_TIMEOUT_MS,
        retries: Retries | None = Retries(),  # noqa: B008  (immutable)
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
    ) -> None:
        self._asking = Asking(endpoint, timeout_ms=timeout_ms, connect_timeout_ms=connect_timeout_ms, retries=retries)
        self._max_in_flight = check_count("max_in_flight", max_in_flight)
        self._session: LoopSession | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return (_rebuild, ({**self._asking.words, "max_in_flight": self._max_in_flight},))

    def __repr__(self) -> str:
        return f"<predictd.AsyncClient {self._asking}>"

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        session: LoopSession | None = getattr(self, "_session", None)
        if session is None or session.is_closed or sys.is_finalizing():
            return
        if session.process is not this_process():
            set_aside(session)
        elif session.loop.is_running():
            # Collected on whatever thread: the loop's own one has to take its readers away.
            with suppress(RuntimeError):
                session.loop.call_soon_threadsafe(session.discard)
        else:
            session.discard()

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where servers are looked for."""
        return self._asking.endpoints

    @property
    def timeout_ms(self) -> float:
        """What a call may take, if it doesn't say otherwise, in milliseconds."""
        return self._asking.timeout_ms

    async def aclose(self) -> None:
        """Close the connections; calls in progress fail with RequestCancelledError, and their servers are told.

        A later call opens new ones, so this is never a mistake.

        Raises:
            ConfigError: Another loop is running that uses the client.
        """
        session = self._session
        if session is None or session.is_closed:
            return
        if session.loop is not asyncio.get_running_loop() or session.process is not this_process():
            self._leave(session)
            return
        self._session = None
        await session.close()
        self._asking.close()

    async def close(self) -> None:
        """Do as `aclose`."""
        await self.aclose()

    async def predict(  # noqa: PLR0913  (each is a word on the wire)
        self,
        model: str,
        inputs: Any,
        *,
        version: int | str | None = None,
        signature: str | None = None,
        timeout_ms: float | None = None,
        cast: bool = False,
        caller_class: str = "",
        traceparent: str = "",
        task_id: str = "",
        task_name: str = "",
    ) -> Prediction:
        """Run a model on some rows.

        Args:
            model: The model's name.
            inputs: An array whose axis 0 counts the rows, e.g. float32[rows, 224, 224, 3]; for several inputs a list or
                dict of them, as in `Client.predict`. They are read when the request's turn comes and again when it is
                repeated: leave them unchanged until the call returns.
            version: A version number, a label, or None for the latest that is ready.
            signature: The signature's name; None for the model's default.
            timeout_ms: What this call may take, in milliseconds; None for the client's time-out.
            cast: Cast inputs of another dtype to the model's; without it they are refused.
            caller_class: Which kind of caller this is ("interactive", a queue's name); the server may
                treat kinds differently, as its configuration says.
            traceparent: W3C trace context to pass on.
            task_id: The Celery task's id. Where this process dies, the server keeps the work for a while: the same
                request of the same task, from the process that runs it next, gets its answer.
            task_name: What kind of task that is, for the server's totals and log.

        Returns:
            The outputs, nested as the model gives them, as arrays that own their memory; and the receipt.

        Raises:
            PredictdError: As `Client.predict`.
            RequestCancelledError: The client was closed meanwhile.
            ConfigError: Another loop is running that uses the client, or this one can't watch descriptors.
        """
        deadline = self._asking.deadline(timeout_ms)
        caller = (caller_class, traceparent, task_id, task_name)
        question = Question(model, inputs, version=version, signature=signature, cast=cast, caller=caller)
        return await self._session_here().begin(question, deadline).prediction()

    async def map(  # noqa: PLR0913  (as `predict`)
        self,
        model: str,
        inputs: Iterable[Any] | AsyncIterable[Any],
        *,
        window: int = DEFAULT_WINDOW,
        version: int | str | None = None,
        signature: str | None = None,
        timeout_ms: float | None = None,
        cast: bool = False,
        caller_class: str = "",
        traceparent: str = "",
        task_id: str = "",
        task_name: str = "",
    ) -> AsyncGenerator[Prediction, None]:
        """Run a model on one input after the other, several of them in flight, and yield the answers in order.

            async for prediction in client.map("digits", batches):
                ...

        Inputs are taken as there is room, so they may be endless. Of an asynchronous iterable an answer is yielded as
        soon as it is here, while the next input is awaited. When the loop over the answers is left by an error or a
        cancelled task, or `aclose` is called on the iterator, what is in flight is cancelled.

        Args:
            model: The model's name.
            inputs: What `predict` takes, again and again.
            window: How many are in flight at most, answers that wait to be taken included.
            version: As in `predict`, like all that follow.
            signature: Likewise.
            timeout_ms: What each of them may take, in milliseconds.
            cast: Likewise.
            caller_class: Likewise.
            traceparent: Likewise.
            task_id: Likewise.
            task_name: Likewise.

        Raises:
            PredictdError: One of them failed: those before it were yielded, those after it are cancelled.
            RequestCancelledError: The client was closed meanwhile.
        """
        check_count("window", window)
        session, caller = self._session_here(), (caller_class, traceparent, task_id, task_name)

        def begin(item: Any) -> Flight:
            question = Question(model, item, version=version, signature=signature, cast=cast, caller=caller)
            return session.begin(question, self._asking.deadline(timeout_ms))

        under_way: deque[Flight] = deque()
        source = MapSource(inputs)
        try:
            while under_way or not source.is_over:
                oldest = under_way[0].landed if under_way else None
                if not source.is_over and len(under_way) < window and await source.comes_before(oldest):
                    item = await source.take()
                    if not source.is_over:
                        under_way.append(begin(item))
                elif oldest is not None:
                    yield await under_way.popleft().prediction()
        finally:
            for flight in under_way:
                flight.give_up()
            await source.close()

    async def models(self, model: str | None = None, *, timeout_ms: float | None = None) -> tuple[ModelMetadata, ...]:
        """Return what is served, as `Client.models`.

        Args:
            model: Only this one's versions.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            ModelNotFoundError: There is no such model.
            ServerUnavailableError: Nobody answers at the endpoint.
            DeadlineExceededError: The time is up.
        """
        time_ms, asking = self._time_ms(timeout_ms), self._asking
        return await self._session_here().run(lambda clock: served_models(asking, model, Deadline(time_ms, clock)))

    async def metadata(
        self, model: str, version: int | str | None = None, *, timeout_ms: float | None = None
    ) -> ModelMetadata:
        """Return what a model version is, as `Client.metadata`.

        Args:
            model: The model's name.
            version: A version number, a label, or None for the latest that is ready.
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            ModelNotFoundError, VersionNotFoundError: There is no such thing.
            ModelNotReadyError: It was still loading when the time was up.
            ServerUnavailableError: Nobody answers at the endpoint.
        """
        check_words(model, version, None)
        time_ms, asking = self._time_ms(timeout_ms), self._asking
        return await self._session_here().run(lambda clock: asking.metadata(model, version, Deadline(time_ms, clock)))

    async def status(self, *, timeout_ms: float | None = None) -> ServerStatus:
        """Return how the server is, as `Client.status`.

        Args:
            timeout_ms: What the call may take, in milliseconds.

        Raises:
            ServerUnavailableError: Nobody answers at the endpoint.
            DeadlineExceededError: The time is up.
        """
        time_ms, asking = self._time_ms(timeout_ms), self._asking
        return await self._session_here().run(lambda clock: asking.status(Deadline(time_ms, clock)))

    async def wait_until_ready(self, timeout_s: float = 60.0, *, model: str | None = None) -> ServerStatus:
        """Wait until the server, or one of several, takes requests, and return its status.

        Args:
            timeout_s: How long to wait, in seconds.
            model: Wait until this model is ready, even if others are not.

        Raises:
            PredictdError: As `Client.wait_until_ready`.
        """
        time_ms, asking = check_timeout_s("timeout_s", timeout_s), self._asking
        return await self._session_here().run(lambda clock: wait_until_ready(asking, model, Deadline(time_ms, clock)))

    def _time_ms(self, timeout_ms: float | None) -> float:
        return self.timeout_ms if timeout_ms is None else check_timeout_ms("timeout_ms", timeout_ms)

    def _session_here(self) -> LoopSession:
        loop = asyncio.get_running_loop()
        session = self._session
        if session is not None:
            if session.loop is loop and session.process is this_process() and not session.is_closed:
                return session
            self._leave(session)
        asking = self._asking
        session = LoopSession(loop, asking.routes, retries=asking.retries, max_in_flight=self._max_in_flight)
        self._session = session
        return session

    def _leave(self, session: LoopSession) -> None:
        """Give up a session of another loop or process."""
        if session.process is not this_process():
            set_aside(session)
        elif session.loop.is_running() and not session.is_closed:
            text = (
                "this AsyncClient is in use by another event loop that is running: make one client for each loop, or "
                "close it there first (`await client.aclose()`)"
            )
            raise ConfigError(text)
        else:
            session.discard()
        self._session = None


def _rebuild(words: dict[str, Any]) -> AsyncClient:
    return AsyncClient(**words)

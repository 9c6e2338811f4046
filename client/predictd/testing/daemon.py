"""The fake daemon: frames in, frames out, by the daemon's rules; no TensorFlow, no socket, no thread.

Owns what a fake answers. `sockets.py`, `direct.py` and `fake_process.py` carry its messages. Any thread: functions of
the test run in the thread that brings the request.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from predictd.testing.answers import run_answer
from predictd.testing.faults import Faults
from predictd.testing.lifecycle import carry_out
from predictd.testing.mistakes import Mistakes
from predictd.testing.models import FakeModel
from predictd.testing.monitor import Monitor
from predictd.testing.presence import Presence
from predictd.testing.request_log import DEFAULT_WAIT_S, RequestLog, SeenRequest
from predictd.testing.shelf import Shelf, check_tensors
from predictd.testing.turn import Reply, Turn, fake_receipt
from predictd_proto.errors import InternalServerError, PredictdError, RemoteProtocolError
from predictd_proto.frames import decode, encode, request_id_of
from predictd_proto.limits import DEFAULT_LIMITS, Limits
from predictd_proto.messages import (
    CancelRequest,
    ErrorResponse,
    Hello,
    Message,
    MetadataRequest,
    MetadataResponse,
    PredictRequest,
    PredictResponse,
    StatusRequest,
    StatusResponse,
    Welcome,
)
from predictd_proto.orders import OrderRequest
from predictd_proto.status import ServerStatus
from predictd_proto.version import PROTOCOL_VERSION, choose_version

if TYPE_CHECKING:
    from predictd_proto.dtypes import Buffer

SERVER = "predictd.testing"


class FakeServer:
    """A daemon that runs no model: what a test holds of its fake.

    Made by `fake_server()` and `in_process()`.

    Args:
        models: What it serves.
        endpoint: Where it is reached.
        limits: What it accepts in one request.

    Attributes:
        endpoint: Likewise.
        limits: Likewise; may be changed.
        models: What it serves: `put`, `get`, `remove`.
        faults: The switches for what goes wrong.
        presence: Whether it is there.
        mistakes: What was wrong with its answers.

    Examples:
        >>> import numpy, predictd
        >>> with in_process(FakeModel("sums", inputs=("float32", (None, 2)), outputs=("float32", (None,)),
        ...                           answer=lambda x: x.sum(axis=1))) as server:
        ...     print(predictd.RemoteModel("sums").predict(numpy.ones((3, 2), "float32")))
        ...     print(server.requests[0].inputs.shape)
        [2. 2. 2.]
        (3, 2)
    """

    def __init__(
        self, models: Iterable[FakeModel] = (), *, endpoint: str = "", limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self.endpoint = endpoint
        self.limits = limits
        self.presence: Presence = Presence()
        self._monitor = Monitor()
        self.faults: Faults = Faults(self._monitor, self.presence)
        self.models: Shelf = Shelf(models, self.faults.see)
        self._log = RequestLog(self._monitor)
        self.mistakes: Mistakes = Mistakes()
        self._started_s = time.monotonic()

    def __repr__(self) -> str:
        return f"<FakeServer at {self.endpoint}: {', '.join(self.models.names()) or 'no models'}>"

    # --- what was asked ---------------------------------------------------------------------------------------------

    @property
    def requests(self) -> list[SeenRequest]:
        """The predict requests so far, in the order in which they came."""
        return self._log.of()

    def requests_for(self, model: str) -> list[SeenRequest]:
        """Return the predict requests for one model, in the order in which they came."""
        return self._log.of(model)

    def wait_for_requests(
        self, count: int, model: str | None = None, *, timeout_s: float = DEFAULT_WAIT_S
    ) -> list[SeenRequest]:
        """Wait until there are so many predict requests, and return them.

        Raises:
            AssertionError: They did not come in time; the text lists those that did.
        """
        return self._log.wait_for(count, model, timeout_s)

    def wait_until(self, predicate: Callable[[], object], *, timeout_s: float = DEFAULT_WAIT_S) -> None:
        """Wait until something holds, such as `lambda: server.requests[0].is_cancelled`.

        Raises:
            AssertionError: It did not come to hold in time.
        """
        self._log.wait_until(predicate, timeout_s)

    def assert_asked(
        self, model: str | None = None, *, inputs: Any = None, times: int | None = None, **fields: Any
    ) -> None:
        """Check that there was such a request.

        Args:
            model: For this model.
            inputs: With these inputs: compared as the model takes them, after any cast.
            times: Exactly so many; None for at least one.
            **fields: With these attributes of `SeenRequest`, such as `task_id="7"` or `rows=3`.

        Raises:
            AssertionError: There was not; the text lists what there was.
        """
        self._log.assert_asked(model, inputs=inputs, times=times, fields=fields)

    def assert_not_asked(self, model: str | None = None) -> None:
        """Check that there was no request, or none for one model.

        Raises:
            AssertionError: There was one; the text lists what there was.
        """
        self._log.assert_asked(model, inputs=None, times=0, fields={})

    def reset(self) -> None:
        """Forget what was asked, and switch every fault off. Wrong answers are told at the end all the same."""
        self.faults.clear()
        self._log.clear()

    def check(self) -> None:
        """Raise what the fake could only tell its clients as an internal error; called when the fake ends.

        Raises:
            WrongAnswerError: An answer did not fit its signature, or a test's own assertion in it failed.
        """
        self.mistakes.check()

    # --- frames in, frames out --------------------------------------------------------------------------------------

    def take(self, frames: Sequence[Buffer]) -> list[Reply]:
        """Take a message in, and return what is sent back for it, in order."""
        begun = self.begin(frames)
        return begun() if callable(begun) else begun

    def begin(self, frames: Sequence[Buffer]) -> list[Reply] | Callable[[], list[Reply]]:
        """Take a message in, and return what is sent back for it, or a function that does: it may run the test's."""
        try:
            return self._replies(decode(frames, self.limits))
        except PredictdError as error:
            return _reply(ErrorResponse.from_error(request_id_of(frames), error))
        except Exception as error:  # a fault that can't be carried out must not end the fake's thread in silence
            return self._failed(request_id_of(frames), error)

    def _replies(self, message: Message) -> list[Reply] | Callable[[], list[Reply]]:
        if isinstance(message, PredictRequest):
            return self._predict(message)
        if isinstance(message, CancelRequest):
            self._log.cancel(message.id)
            return []
        if self.faults.is_silent:
            return []
        return _reply(self._told(message))

    def _failed(self, request_id: int | None, error: Exception) -> list[Reply]:
        text = f"the fake can't answer: {type(error).__name__}: {error}"
        self.mistakes.add(text)
        return _reply(ErrorResponse.from_error(request_id, InternalServerError(text)))

    def status(self) -> ServerStatus:
        """Return what a client is told that asks for the status."""
        requests = self._log.of()
        answered = sum(request.outcome == "answered" for request in requests)
        waiting = sum(request.outcome in {"waiting", "dropped"} for request in requests)
        return ServerStatus(
            state=self.state,
            responsive=True,
            server_id=self.presence.server_id,
            server=SERVER,
            protocol=PROTOCOL_VERSION,
            pid=os.getpid(),
            endpoint=self.endpoint,
            uptime_s=time.monotonic() - self._started_s,
            models=self.models.metadata(),
            counters={
                "requests_total": len(requests),
                "requests_ok_total": answered,
                "requests_failed_total": len(requests) - answered - waiting,
            },
        )

    @property
    def state(self) -> str:
        """What it says of itself: "starting" while a model is loading, "ready", "draining"."""
        told = self.faults.state
        if told is not None:
            return told
        return "starting" if any(model.state == "loading" for model in self.models.metadata()) else "ready"

    def _told(self, message: Message) -> Message:
        try:
            if isinstance(message, Hello):
                return self.faults.hello(message) or self._welcome(message)
            if isinstance(message, MetadataRequest):
                return MetadataResponse(id=message.id, models=self.models.metadata(message.model))
            if isinstance(message, OrderRequest):
                return carry_out(message, self.models)
            if isinstance(message, StatusRequest):
                return StatusResponse(id=message.id, status=self.status())
        except PredictdError as error:
            return ErrorResponse.from_error(getattr(message, "id", None), error)
        text = f"a {type(message).__name__} is nothing that a server is sent"
        return ErrorResponse.from_error(getattr(message, "id", None), RemoteProtocolError(text))

    def _welcome(self, hello: Hello) -> Welcome:
        version = choose_version(their_oldest=hello.oldest, their_newest=hello.newest, them="client")
        return Welcome(
            version=version,
            server_id=self.presence.server_id,
            server=SERVER,
            state=self.state,
            limits=self.limits,
            models=self.models.names(),
        )

    def _predict(self, request: PredictRequest) -> list[Reply] | Callable[[], list[Reply]]:
        turn = Turn(request)
        seen = SeenRequest.of(request, self.models.declared(request))
        self.faults.apply(turn)
        self._log.add(seen)
        if turn.is_dropped:
            self._log.settle(seen, "dropped")
            if turn.dies:
                self.presence.leave(turn.back_after_ms)
            return []
        if turn.error is not None:
            return self._refused(seen, turn, turn.error)
        return partial(self._answered, seen, turn, self.presence.life)

    def _answered(self, seen: SeenRequest, turn: Turn, life: int) -> list[Reply]:
        if self.presence.life != life:
            self._log.settle(seen, "dropped")
            return []
        try:
            answer = self.answer(turn.request)
            for change in turn.changes:
                answer = change(answer)
            frames = encode(answer)
            for spoil in turn.spoils:
                frames = spoil(frames)
        except PredictdError as error:
            return self._refused(seen, turn, error)
        except Exception as error:  # as in `begin`
            self._log.settle(seen, InternalServerError.code)
            return self._failed(turn.request.id, error)
        self._log.settle(seen, "answered")
        return [Reply(frames, turn.delay_ms)]

    def _refused(self, seen: SeenRequest, turn: Turn, error: PredictdError) -> list[Reply]:
        self._log.settle(seen, error.code)
        return [Reply(encode(ErrorResponse.from_error(turn.request.id, error)), turn.delay_ms)]

    def answer(self, request: PredictRequest) -> PredictResponse:
        """Return the answer to a request that no fault has struck.

        Raises:
            PredictdError: It is an error.
        """
        metadata, spec, answer = self.models.find(request)
        label = f"fake model {metadata.name!r} version {metadata.version}"
        rows = check_tensors(label, spec, request)
        inputs = {tensor.name: tensor.array() for tensor in request.tensors}
        tensors = self.mistakes.guard(label, lambda: run_answer(label, spec, answer, inputs, rows))
        receipt = fake_receipt(metadata.name, metadata.version, rows)
        return PredictResponse(id=request.id, tensors=tensors, receipt=receipt)


def _reply(message: Message) -> list[Reply]:
    return [Reply(encode(message))]
